from __future__ import annotations

from pathlib import Path

import pytest

from metamtl.trainer import session
from tests.transfer.made import DIGITS, trained


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "plot_curves", lambda run: None)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits 0 to 4, which has kept its path through training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "plot_curves", lambda run: None)
        return trained(
            tmp_path_factory.mktemp("source"),
            *(*DIGITS, "transfer=si", "data.digits=[0,1,2,3,4]", "trainer.steps=30", "seed=1"),
        )
