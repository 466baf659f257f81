"""Sine waves to fit from a few points: Finn, Abbeel & Levine (2017), MAML, ICML, section 5.1.

y = A sin(x - phase), with A, phase and x uniform. Nothing is stored: a wave is a function of its
episode's key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metamtl.data.curves import Curves
from metamtl.data.identity import digest
from metamtl.data.random import Keys, uniform, within
from metamtl.data.source import DataPaths, EpisodeArrays, IntArray
from metamtl.errors import UsageError
from metamtl.registry import register

_FORMAT = 1  # raise when the same options make other waves
_AMPLITUDE, _PHASE, _X = range(16, 19)  # apart from the counters of metamtl.data.sampler

Floats = NDArray[np.float32]


@register("data", "sinusoid")
class Sinusoid(Curves):
    """Regression tasks of `shots` support and `queries` query points; x and y are float32 [T, points, 1].

    `amplitude`, `phase` (radians) and `inputs` are the ends [low, high] of what is drawn uniformly. All
    splits have this one distribution and share no wave. Raises UsageError for ends in the wrong order.
    """

    def __init__(
        self, *, paths: DataPaths, amplitude: Sequence[float], phase: Sequence[float], inputs: Sequence[float]
    ) -> None:
        ends = {"amplitude": amplitude, "phase": phase, "inputs": inputs}
        wrong = [key for key, pair in ends.items() if len(pair) != 2 or not pair[0] <= pair[1]]
        if wrong:
            raise UsageError(*(f"data.{key} must be [low, high] with low <= high." for key in wrong))
        self.amplitude, self.phase, self.inputs = ((float(a), float(b)) for a, b in ends.values())
        self.name = "sinusoid"
        self.preprocessing = {}
        self.facts = {key: [float(end) for end in pair] for key, pair in ends.items()}
        self.facts["splits"] = "one distribution of tasks; no wave of one split is in another"
        self.fingerprint = digest("sinusoid", _FORMAT, self.amplitude, self.phase, self.inputs)

    def points(self, episodes: IntArray, keys: Keys, shots: int, queries: int) -> EpisodeArrays:
        """T waves at shots + queries points each."""
        amplitude = within(self.amplitude, uniform(keys, _AMPLITUDE))[:, None, None]
        phase = within(self.phase, uniform(keys, _PHASE))[:, None, None]
        points = np.arange(shots + queries)[:, None]
        # rounded first, so that y is the wave's value at the x that the network sees
        x: Floats = within(self.inputs, uniform(keys[:, None, None], _X, points)).astype(np.float32)
        y: Floats = (amplitude * np.sin(x.astype(np.float64) - phase)).astype(np.float32)
        return EpisodeArrays.of_points(episodes, x, y, shots)
