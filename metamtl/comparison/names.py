"""Short names of groups: their options, then as few keys as tell those of equal options apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]
Words = tuple[str, ...]
# The sections that a person thinks of first; the facts of a result come where nothing else differs.
_ORDER = ("algo", "transfer", "weighting", "data", "task", "backbone", "trainer", "eval", "result")
_LONGEST = 40  # characters of a value


def short_names(settings: Sequence[Settings], differing: Sequence[Settings]) -> list[str]:
    """A name for each group, all different: `maml`, `protonet omniglot`, `maml inner_lr=0.4`.

    `settings` are all of a group's, `differing` those in which the groups differ. The method comes always, other
    options where they differ.
    """
    options = _options(settings, differing)
    short = short_keys({key for one in differing for key in one})
    names: list[Words] = [()] * len(settings)
    for name in dict.fromkeys(options):
        places = [place for place, other in enumerate(options) if other == name]
        alike = [differing[place] for place in places]
        keys = _telling_apart(alike, {key for one in alike for key in one if not key.endswith(".name")})
        for place in places:
            parts = [f"{short[key]}={shown_value(differing[place].get(key, '-'))}" for key in keys]
            names[place] = (*name, *parts)
    return _numbered([" ".join(words) or "runs" for words in _without_nothing(names)])


def distinct_parts(names: Sequence[str]) -> list[str]:
    """What tells these names apart: without the words that all of them have; one alone stays whole."""
    words = [name.split(" ") for name in names]
    common = set.intersection(*map(set, words)) if len(words) > 1 else set()
    parts = [" ".join(word for word in one if word not in common) for one in words]
    # where nothing is left of one, it is called by its first word, the method
    shown = [part or one[0] for part, one in zip(parts, words, strict=True)]
    return shown if len(set(shown)) == len(names) else list(names)


def shown_value(value: Any) -> str:
    """A value as a person types it; a long one is cut."""
    text = whole_value(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def whole_value(value: Any) -> str:
    """A value as a person types it, however long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{','.join(map(whole_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {whole_value(one)}' for key, one in value.items())}}}"
    return str(value)


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each key; of keys that share it the least deep has it alone, the others are shown whole."""
    ends: dict[str, list[str]] = {}
    for key in sorted(keys, key=lambda key: key.count(".")):
        ends.setdefault(key.rpartition(".")[2], []).append(key)
    short = {key: key for alike in ends.values() for key in alike}
    for end, (first, *others) in ends.items():
        if not others or others[0].count(".") > first.count("."):
            short[first] = end
    return short


def _options(settings: Sequence[Settings], differing: Sequence[Settings]) -> list[Words]:
    """`maml omniglot`: the method, and as few of the other options as tell the combinations apart."""
    names = {key for one in differing for key in one if key.endswith(".name") and key.count(".") == 1}
    chosen = ["algo.name", *_telling_apart(differing, names - {"algo.name"}, ["algo.name"])]
    return [tuple(str(one[key]) for key in chosen if key in one) for one in settings]


def _without_nothing(names: Sequence[Words]) -> list[Words]:
    """The names without `none` and `labels=null`, which say little, where the rest tells them apart."""
    shorter = [tuple(word for word in words if word != "none" and not word.endswith("=null")) for words in names]
    counts = Counter(shorter)
    return [short if counts[short] == 1 else whole for short, whole in zip(shorter, names, strict=True)]


def _telling_apart(group: Sequence[Settings], keys: Iterable[str], known: Sequence[str] = ()) -> list[str]:
    """As few of `keys` as tell all of `group` apart, `known` ones given: each time the one that tells most apart.

    Of equals one that all have is taken, and then the first by rank.
    """
    candidates = sorted(keys, key=lambda key: (any(key not in one for one in group), _rank(key)))
    most = _kinds(group, [*known, *candidates])
    chosen: list[str] = []
    while _kinds(group, [*known, *chosen]) < most:
        chosen.append(max(candidates, key=lambda key: _kinds(group, [*known, *chosen, key])))
    return sorted(chosen, key=_rank)


def _kinds(group: Sequence[Settings], keys: Sequence[str]) -> int:
    return len({tuple(repr(one.get(key)) for key in keys) for one in group})


def _rank(key: str) -> tuple[int, str]:
    section = key.partition(".")[0]
    return (_ORDER.index(section) if section in _ORDER else len(_ORDER) - 2, key)


def _numbered(names: Sequence[str]) -> list[str]:
    """Equal names get a number, which happens where two values look the same."""
    counts = Counter(names)
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name} #{seen[name]}" if counts[name] > 1 else name)
    return numbered
