from __future__ import annotations

import pytest

from metamtl.trainer import session
from tests.trainer.runs import Runs, shared_runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return shared_runs(tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing curves takes longer than these runs and is tested elsewhere."""
    monkeypatch.setattr(session, "plot_curves", lambda run: None)
