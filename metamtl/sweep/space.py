"""What a sweep may try for a key: `space.algo.inner_lr="log(1e-3,1)"`.

log(a, b)  uniform(a, b)     real numbers from a to b, even in their logarithm or in themselves
int(a, b)  logint(a, b)      whole numbers, both ends included
choice(a, b, ...)            one of these, each written as on the command line
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metamtl.config.hints import did_you_mean, nearest
from metamtl.errors import UsageError

if TYPE_CHECKING:
    from optuna import Trial

FUNCTIONS = ("log", "uniform", "int", "logint", "choice")
_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True)
class Dimension:
    """The values of one key: `choices` as texts, or the numbers from `low` to `high`."""

    key: str
    function: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether its numbers are integers."""
        return self.function in ("int", "logint")

    def extremes(self) -> list[str]:
        """Values, as on the command line, of which all are valid where every value is."""
        return list(self.choices) or [self.text(self.low), self.text(self.high)]

    def suggest(self, trial: Trial) -> str:
        """The trial's value, as on the command line; the same one however often it is asked."""
        if self.choices:
            return str(trial.suggest_categorical(self.key, self.choices))
        logarithmic = self.function in ("log", "logint")
        if self.whole:
            return self.text(trial.suggest_int(self.key, int(self.low), int(self.high), log=logarithmic))
        return self.text(trial.suggest_float(self.key, self.low, self.high, log=logarithmic))

    def text(self, value: float | str) -> str:
        """A value of the trial as on the command line."""
        if isinstance(value, str):
            return value
        return str(int(value)) if self.whole else repr(float(value))


def read_space(texts: Mapping[str, str]) -> dict[str, Dimension]:
    """The dimensions that `texts` (key -> expression) write; raises UsageError with every problem."""
    found, problems = {}, []
    for key, text in texts.items():
        try:
            found[key] = _read(key, text)
        except ValueError as error:
            problems.append(f"space.{key}={text}: {error}")
    if problems:
        raise UsageError(*problems)
    return found


def _read(key: str, text: str) -> Dimension:
    call = _CALL.fullmatch(text)
    if call is None:
        raise ValueError("write log(a,b), uniform(a,b), int(a,b), logint(a,b) or choice(a,b,...).")
    function, parts = call[1], _split(call[2])
    if function not in FUNCTIONS:
        hint = did_you_mean(nearest(function, FUNCTIONS))
        raise ValueError(f"there is no {function}(){hint} There are {', '.join(FUNCTIONS)}.")
    if function == "choice":
        if len(set(parts)) != len(parts) or len(parts) < 2 or not all(parts):
            raise ValueError("choice takes two or more different values.")
        return Dimension(key, function, choices=tuple(parts))
    low, high = _bounds(function, parts)
    return Dimension(key, function, low, high)


def _bounds(function: str, parts: list[str]) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in parts)
    except ValueError as error:
        raise ValueError(f"{function} takes two numbers, the lowest and the highest.") from error
    if not abs(low) < float("inf") or not abs(high) < float("inf") or low >= high:
        raise ValueError(f"the first number of {function} must be smaller than the second.")
    if function in ("int", "logint") and not (low.is_integer() and high.is_integer()):
        raise ValueError(f"{function} takes two whole numbers.")
    if function in ("log", "logint") and low <= 0:
        raise ValueError(f"{function} takes numbers above 0.")
    return low, high


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        depth += 0 if quote else (letter in _OPENING) - (letter in _CLOSING)
        if letter == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
