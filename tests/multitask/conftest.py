from __future__ import annotations

from tests.trainer.conftest import _no_pictures

__all__ = ["_no_pictures"]  # a fixture, which is found by its name here
