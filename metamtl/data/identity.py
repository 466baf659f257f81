"""Identities of what JSON can say: equal values have equal digests, on every machine and Python."""

from __future__ import annotations

import hashlib
import json


def digest(*parts: object) -> str:
    """Hexadecimal sha256 of the canonical JSON (sorted keys, no spaces) of `parts`.

    Tuples and lists are the same; raises TypeError for what JSON cannot say and ValueError for NaN.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
