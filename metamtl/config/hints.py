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

    The nearest whole key comes first where `key` is dotted, then one that ends in the same word (the shortest such),
    then the one with the nearest end.
    """
    keys = sorted(valid, key=lambda name: (name.count("."), len(name), name))
    dotted = [name for name in keys if "." in name] if "." in key else keys
    if "." in key and (whole := nearest(key, dotted)):
        return whole
    ends = {name.rpartition(".")[2]: name for name in reversed(dotted)}
    last = nearest(key.rpartition(".")[2], ends)
    return ends[last] if last else None


def did_you_mean(found: str | None) -> str:
    """`; did you mean FOUND?`, or a full stop."""
    return f"; did you mean {found}?" if found else "."
