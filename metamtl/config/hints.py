"""The nearest valid name to a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid name most like `word`, or None where none is near."""
    names = {name.lower(): name for name in valid}
    matches = get_close_matches(word.lower(), list(names), n=1, cutoff=0.6)
    return names[matches[0]] if matches else None


def nearest_key(key: str, valid: Iterable[str]) -> str | None:
    """The dotted key most like `key`; `shots` finds `task.shots`, `trainer.learning_rte` what it is near to.

    A key that ends in the same word comes first (the shortest such), then the nearest whole, then the nearest end.
    """
    keys = sorted(valid, key=lambda name: (name.count("."), len(name), name))
    last = key.rpartition(".")[2]
    for name in keys:
        if name.rpartition(".")[2] == last:
            return name
    if "." in key and (whole := nearest(key, keys)):
        return whole
    leaves = {name.rpartition(".")[2]: name for name in reversed(keys)}
    leaf = nearest(last, leaves)
    return leaves[leaf] if leaf else nearest(key, keys)


def did_you_mean(found: str | None) -> str:
    """`; did you mean FOUND?`, or a full stop."""
    return f"; did you mean {found}?" if found else "."
