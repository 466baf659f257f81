from __future__ import annotations

from pathlib import Path

import pytest

from metamtl.trainer import session
from tests.trainer.conftest import _no_pictures, runs
from tests.trainer.runs import Runs, trained_here

__all__ = ["_no_pictures", "runs"]  # fixtures, which are found by their names here


@pytest.fixture(scope="session")
def whole(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on pictures, not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "plot_curves", lambda run: None)
        return trained_here(runs.config("protonet"), tmp_path_factory.mktemp("whole"))
