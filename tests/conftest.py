"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# before torch is imported: the tests' networks are tiny, and several processes of one thread each beat one of several
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where data is packed once for all processes of a session, or for all sessions in METAMTL_TEST_CACHE."""
    if kept := os.environ.get("METAMTL_TEST_CACHE"):
        return Path(kept)
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cache"
