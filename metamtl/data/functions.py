"""Functions of several kinds to fit from a few points: Vuorio, Sun, Hu & Lim (2019), MMAML, NeurIPS, section 5.1.

A task is a function of a kind that nothing tells but its points. The distributions of its three numbers are those of
the authors' code. Nothing is stored: a function is one of its episode's key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metamtl.data.curves import Curves
from metamtl.data.identity import digest
from metamtl.data.random import Keys, integers, normal, uniform, within
from metamtl.data.source import DataPaths, EpisodeArrays, IntArray
from metamtl.errors import UsageError
from metamtl.registry import register

_FORMAT = 1  # raise when the same options make other functions
_KIND, _SCALE, _SIGN, _CENTRE, _BIAS, _X, _RADIUS, _ANGLE = range(16, 24)  # apart from those of metamtl.data.sampler
_INPUTS = (-5.0, 5.0)

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """y = scale * shape(x - centre) + bias, with the ends of what is drawn uniformly.

    The scale has either sign where `signed`.
    """

    shape: Callable[[Doubles], Doubles]
    scale: tuple[float, float]
    centre: tuple[float, float] = (-3.0, 3.0)
    bias: tuple[float, float] = (-3.0, 3.0)
    signed: bool = False


KINDS: Mapping[str, Kind] = {
    "sinusoid": Kind(np.sin, (0.1, 5.0), centre=(0.0, math.pi), bias=(0.0, 0.0)),
    "linear": Kind(np.positive, (-3.0, 3.0), centre=(0.0, 0.0)),
    "quadratic": Kind(np.square, (0.02, 0.15), signed=True),
    "absolute": Kind(np.abs, (-3.0, 3.0)),
    "tanh": Kind(np.tanh, (-3.0, 3.0)),
}


@register("data", "functions")
class Functions(Curves):
    """Regression tasks of `shots` support and `queries` query points; x and y are float32 [T, points, 1].

    A task is of one of `kinds`, all alike likely; `noise` is the deviation of normal noise on every y. All splits have
    this one distribution and share no function. Raises UsageError for kinds that are not there.
    """

    def __init__(self, *, paths: DataPaths, kinds: Sequence[str], noise: float) -> None:
        if wrong := [kind for kind in kinds if kind not in KINDS]:
            raise UsageError(f"data.kinds: there is no kind {wrong[0]}; there are {', '.join(KINDS)}.")
        if not kinds or len(set(kinds)) < len(kinds):
            raise UsageError("data.kinds: name one kind or several, each once.")
        self.kinds, self.noise = tuple(kinds), noise
        self.name = "functions"
        self.preprocessing = {}
        one = "one distribution of tasks; no function of one split is in another"
        self.facts = {"kinds": list(kinds), "noise": noise, "splits": one}
        self.fingerprint = digest("functions", _FORMAT, self.kinds, float(noise))

    def points(self, episodes: IntArray, keys: Keys, shots: int, queries: int) -> EpisodeArrays:
        """T functions at shots + queries points each."""
        points = np.arange(shots + queries)[:, None]
        each = keys[:, None, None]
        # rounded first, so that y is the function's value at the x that the network sees
        x = within(_INPUTS, uniform(each, _X, points)).astype(np.float32)
        y = np.empty_like(x, dtype=np.float64)
        of_kind = integers(len(self.kinds), keys, _KIND)
        for number, name in enumerate(self.kinds):
            of_it = of_kind == number
            y[of_it] = _values(KINDS[name], keys[of_it], x[of_it].astype(np.float64))
        if self.noise:
            y += self.noise * normal(each, _RADIUS, _ANGLE, points)
        return EpisodeArrays.of_points(episodes, x, y.astype(np.float32), shots)


def _values(kind: Kind, keys: Keys, x: Doubles) -> Doubles:
    """Y of x [T, points, 1] for the functions of T keys."""
    scale, centre, bias = (
        within(ends, uniform(keys, purpose))[:, None, None]
        for ends, purpose in ((kind.scale, _SCALE), (kind.centre, _CENTRE), (kind.bias, _BIAS))
    )
    if kind.signed:
        scale = scale * np.where(uniform(keys, _SIGN) < 0.5, -1.0, 1.0)[:, None, None]
    values: Doubles = scale * kind.shape(x - centre) + bias
    return values
