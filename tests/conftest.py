"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# before torch is imported: the tests' networks are tiny, and several processes of one thread each beat one of several
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where data is packed once a session, or once for all in the folder METAMTL_TEST_CACHE."""
    kept = os.environ.get("METAMTL_TEST_CACHE")
    return Path(kept) if kept else tmp_path_factory.mktemp("cache")
