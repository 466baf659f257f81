from __future__ import annotations

from pathlib import Path

import pytest

from metamtl.trainer import session
from tests.trainer.runs import Runs, shared_runs, trained_here


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return shared_runs(tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing curves takes longer than these runs and is tested elsewhere."""
    monkeypatch.setattr(session, "plot_curves", lambda run: None)


@pytest.fixture(scope="session")
def whole(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on pictures, not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "plot_curves", lambda run: None)
        return trained_here(runs.config("protonet"), tmp_path_factory.mktemp("whole"))
