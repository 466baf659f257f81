"""The types of keys, written in YAML beside them: `inner_lr: float? >= 0; inner learning rate`.

An entry is `TYPE [range] [| ALTERNATIVE]...; help`. TYPE is int, float, bool, str, path, map, list[TYPE], map[TYPE] (of
values), `range` (a pair [low, high], bounded as the type before it) or a literal word. A trailing `?` admits null. A
range is `>= 1`, `> 0`, `<= 1`, `< 1` or `in [0, 1)`.

`1e3` is an int where an int is wanted: a number with no fraction is taken for one however it is written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamtl.config.hints import nearest
from metamtl.errors import MetamtlError

_TYPED = re.compile(r"^(int|float|bool|str|path|map|range|(?:list|map)\[(.+)\])(\?)?\s*((?:[<>]|in\b).*)?$")
_BOUND = re.compile(r"^(>=|>|<=|<)\s*(\S+)$")
_INTERVAL = re.compile(r"^in\s*([\[(])\s*([^,]+),\s*([^\])]+)([\])])$")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda value, bound: value >= bound,
    ">": lambda value, bound: value > bound,
    "<=": lambda value, bound: value <= bound,
    "<": lambda value, bound: value < bound,
}


class MismatchError(Exception):
    """A value is not of the type wanted."""


@dataclass(frozen=True)
class Kind:
    """One type: what it is in words, and how a value of it is read (raises MismatchError)."""

    text: str
    read: Callable[[Any], Any]


@dataclass(frozen=True)
class Entry:
    """All that a key's entry says."""

    kinds: tuple[Kind, ...]
    words: tuple[str, ...]
    nullable: bool
    type: str
    help: str

    @property
    def is_map(self) -> bool:
        """Whether the value is a free mapping, whose keys are not looked at."""
        return any(kind.text.startswith("a mapping") for kind in self.kinds)

    def read(self, value: Any) -> Any:
        """`value` in its proper type; raises MismatchError with what is wanted, to follow `must be`."""
        if value is None and self.nullable:
            return None
        if not isinstance(value, (dict, list)) and _word(value) in self.words:
            return _word(value)
        for kind in self.kinds:
            try:
                return kind.read(value)
            except MismatchError:
                continue
        hint = nearest(str(value), self.words)
        raise MismatchError(self.wanted() + (f"; did you mean {hint}?" if hint else ""))

    def wanted(self) -> str:
        """The values it takes, in words."""
        words = [f"one of {', '.join(self.words)}"] if len(self.words) > 1 else list(self.words)
        return " or ".join([*words, *(kind.text for kind in self.kinds), *(["null"] if self.nullable else [])])


def parse_entry(text: str, where: str) -> Entry:
    """The entry that `text` writes; raises MetamtlError, naming `where`, if it is none."""
    spec, _, explanation = text.partition(";")
    kinds: list[Kind] = []
    words: list[str] = []
    nullable, bounds = False, ""
    for part in re.split(r"\|(?![^\[]*\])", spec):
        found = _TYPED.match(part.strip())
        if found:
            name, inner, optional, bounds = found[1], found[2], found[3], found[4] or bounds
            kinds.append(_kind(name, inner, bounds, where))
        else:
            word, optional = re.fullmatch(r"([^?]*)(\??)", part.strip()).groups()  # type: ignore[union-attr]
            if not word or " " in word:
                raise MetamtlError(f"{where}: '{part.strip()}' is no type; see metamtl/config/schema.py.")
            words.append(word)
        nullable = nullable or bool(optional)
    return Entry(tuple(kinds), tuple(words), nullable, spec.strip(), explanation.strip())


def list_of(entry: Entry) -> Entry:
    """The entry of a list of one or more values, each as `entry` says."""

    def read(value: Any) -> list[Any]:
        if value == []:
            raise MismatchError
        return _list(value, entry)

    kind = Kind(f"a list of one or more, each {entry.wanted()}", read)
    return Entry((kind,), (), False, f"list[{entry.type}]", entry.help)


def _kind(name: str, inner: str | None, bounds: str, where: str) -> Kind:
    if inner:
        entry = parse_entry(inner, where)
        if name.startswith("map"):
            return Kind(f"a mapping, each value {entry.wanted()}", lambda value: _map_of(value, entry))
        return Kind(f"a list, each {entry.wanted()}", lambda value: _list(value, entry))
    within, words = _bounds(bounds, where)
    if name == "range":
        return Kind("a pair [low, high]", lambda value: _pair(value, within))
    if name in ("int", "float"):
        read = _integer if name == "int" else _number
        label = "an integer" if name == "int" else "a number"
        return Kind(f"{label} {words}".strip(), lambda value: within(read(value)))
    return {
        "bool": Kind("true or false", _bool),
        "str": Kind("a text", _text),
        "path": Kind("a path", _path),
        "map": Kind("a mapping", _map),
    }[name]


def _bounds(text: str, where: str) -> tuple[Callable[[Any], Any], str]:
    """A check that raises MismatchError outside the range that `text` writes, and the range in words."""
    limits: list[tuple[str, float]] = []
    try:
        if single := _BOUND.match(text):
            limits = [(single[1], float(single[2]))]
        elif pair := _INTERVAL.match(text):
            limits = [(">=" if pair[1] == "[" else ">", float(pair[2]))]
            limits += [("<=" if pair[4] == "]" else "<", float(pair[3]))]
        elif text:
            raise ValueError
    except ValueError as error:
        raise MetamtlError(f"{where}: '{text}' is no range; write >= 1, > 0 or in [0, 1).") from error

    def within(value: Any) -> Any:
        if not all(_COMPARE[sign](value, bound) for sign, bound in limits):
            raise MismatchError
        return value

    return within, text.strip()


def _word(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _integer(value: Any) -> int:
    if not _number(value).is_integer():
        raise MismatchError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise MismatchError
    try:
        number = float(value)
    except OverflowError as error:  # an integer of more than 308 digits
        raise MismatchError from error
    if not math.isfinite(number):
        raise MismatchError
    return number


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise MismatchError
    return value


def _text(value: Any) -> str:
    if value is None or isinstance(value, (dict, list)):
        raise MismatchError
    return _word(value)


def _path(value: Any) -> str:
    """Absolute, `~` expanded, so that a run means the same from any folder it is resumed in."""
    if not isinstance(value, str) or not value:
        raise MismatchError
    return str(Path(value).expanduser().absolute())


def _map(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MismatchError
    return value


def _map_of(value: Any, entry: Entry) -> dict[str, Any]:
    return {name: entry.read(item) for name, item in _map(value).items()}


def _list(value: Any, entry: Entry) -> list[Any]:
    if not isinstance(value, list):
        raise MismatchError
    return [entry.read(item) for item in value]


def _pair(value: Any, within: Callable[[Any], Any]) -> list[int]:
    if not isinstance(value, list) or len(value) != 2:
        raise MismatchError
    low, high = within(_integer(value[0])), within(_integer(value[1]))
    if low > high:
        raise MismatchError
    return [low, high]
