from __future__ import annotations

import pytest

from tests.trainer.runs import Runs, shared_runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return shared_runs(tmp_path_factory.getbasetemp())
