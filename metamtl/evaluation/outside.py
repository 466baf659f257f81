"""Whether examples of no class of a task are told from those of its classes, by the highest probability.

Hendrycks & Gimpel (2017), A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks,
ICLR: the area under the ROC curve of max softmax, which is the chance that a query of the task's classes has a higher
one than an example from outside, equal ones counting half.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metamtl.build import Parts
from metamtl.data.random import bits, distinct
from metamtl.data.sampler import eval_key
from metamtl.data.source import Split

NAME = "outside_auroc"
_DRAW = 1 << 20  # a counter that no part of an episode is drawn by
_AT_ONCE = 100  # episodes


def outside_figures(parts: Parts, split: Split, episodes: int, count: int) -> dict[str, NDArray[np.float64]]:
    """`outside_auroc` [episodes]: each task's queries against `count` of no class, the same for every method."""
    pool = parts.source.outside(split)
    assert pool is not None  # data without such is refused as it is opened
    key = eval_key(parts.config["eval"]["seed"], parts.source, split, parts.test_shape)
    found: dict[int, float] = {}
    with torch.no_grad(), parts.testing(), parts.autocast():
        for start in range(0, episodes, _AT_ONCE):
            numbers = np.arange(start, min(start + _AT_ONCE, episodes))
            for arrays in parts.source.episodes(split, parts.test_shape, numbers, key):
                batch = parts.preparation.batch(arrays)
                for index, number in enumerate(arrays.episodes.tolist()):
                    task, chosen = batch.task(index), pool[distinct(len(pool), count, bits(key, number, _DRAW))]
                    with parts.learner.network.task(None, task.support):
                        state = parts.learner.adapt(task.support)
                        inside = parts.learner.predict(state, task.query.x)
                        outside = parts.learner.predict(state, parts.preparation.inputs(chosen))
                    found[number] = area(*(_confidence(one, task.support.ways) for one in (inside, outside)))
    return {NAME: np.array([found[number] for number in range(episodes)])}


def area(inside: Tensor, outside: Tensor) -> float:
    """The area under the ROC curve of scores [Q] that should be high against scores [O] that should be low."""
    above = (inside.unsqueeze(1) > outside).double() + 0.5 * (inside.unsqueeze(1) == outside).double()
    return float(above.mean())


def _confidence(outputs: Tensor, ways: int | None) -> Tensor:
    return outputs[:, :ways].softmax(1).amax(1)
