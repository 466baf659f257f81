"""Identities of what JSON can say: equal values have equal digests, on every machine and Python."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray


def digest(*parts: object) -> str:
    """Hexadecimal sha256 of the canonical JSON (sorted keys, no spaces) of `parts`.

    Tuples and lists are the same; raises TypeError for what JSON cannot say and ValueError for NaN.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def array_digest(array: NDArray[Any]) -> str:
    """Hexadecimal sha256 of an array's type, shape and content."""
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode("ascii"))
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
