"""From which score on a picture belongs to one of the support's classes, judged on the support set alone.

A picture's score is its highest output before the softmax (Hendrycks et al. 2022, Scaling Out-of-Distribution
Detection for Real-World Settings, ICML, section 3). The softmax only compares the classes with one another; for
prototypes the output is the distance to the nearest, which also says how far away all of them are.

Each support example is held out once: the learner adapts to the rest and scores it. The threshold is the score that
KNOWN of these exceed. Where no class has an example to spare, whole classes are held out instead: what is scored is
then unknown by construction, and the threshold is the score that UNKNOWN of these stay below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metamtl.algos.base import Learner
from metamtl.algos.embedding import EmbeddingLearner
from metamtl.data.task import Examples, Tensors, on_each

# Chosen on validation classes of Omniglot, with prototypes and MAML; docs/adapt.md has the figures on test classes.
KNOWN, UNKNOWN = 0.95, 0.5
HELD_OUT = 100  # examples; each costs one adaptation

Trial = Callable[[Tensor, Tensor, int, Tensor], Tensor]


@dataclass(frozen=True)
class Threshold:
    """A picture is unknown below `value`; `how` says in a sentence where that comes from.

    `accuracy` is the share of `held_out` support examples that were recognised while held out; None where whole classes
    were, or nothing was.
    """

    value: float
    how: str
    held_out: int = 0
    accuracy: float | None = None


def calibrate(learner: Learner, support: Examples) -> Threshold:
    """The threshold from a support set, inside `metamtl.deploy.adapted.in_use`."""
    labels, ways = support.labels, support.ways or 0
    trial = _trial(learner, support.x)
    sizes = torch.bincount(labels, minlength=ways)
    spare = torch.nonzero(sizes[labels] > 1).flatten()
    if len(spare):
        return _by_examples(trial, labels, ways, spare)
    if ways > 2:
        return _by_classes(trial, labels, ways)
    how = "none: with one example of each of two classes there is nothing to judge by, and no picture is flagged"
    return Threshold(-np.inf, how)


def _by_examples(trial: Trial, labels: Tensor, ways: int, spare: Tensor) -> Threshold:
    places = np.unique(np.linspace(0, len(spare) - 1, min(len(spare), HELD_OUT)).round().astype(np.int64))
    spare = spare[torch.from_numpy(places).to(spare.device)]
    everyone = torch.arange(len(labels), device=labels.device)
    scores, hits = [], []
    for held in spare:
        kept = everyone[everyone != held]
        outputs = trial(kept, labels[kept], ways, held[None])[0]
        scores.append(outputs.max())
        hits.append(outputs.argmax() == labels[held])
    value = float(torch.quantile(torch.stack(scores).double(), 1 - KNOWN))
    accuracy = float(torch.stack(hits).double().mean())
    how = f"leave-one-out on {len(spare)} support examples: {KNOWN:.0%} of them score higher"
    return Threshold(value, how, len(spare), accuracy)


def _by_classes(trial: Trial, labels: Tensor, ways: int) -> Threshold:
    scores = []
    for left_out in range(ways):
        kept = torch.nonzero(labels != left_out).flatten()
        held = torch.nonzero(labels == left_out).flatten()
        others = labels[kept] - (labels[kept] > left_out).to(labels.dtype)
        scores.append(trial(kept, others, ways - 1, held).max(1).values)
    value = float(torch.quantile(torch.cat(scores).double(), UNKNOWN))
    how = (
        f"no class has a second example to hold out, so each of the {ways} classes was held out whole: {UNKNOWN:.0%} "
        "of these unknown examples score lower"
    )
    return Threshold(value, how, len(labels))


def _trial(learner: Learner, x: Tensors) -> Trial:
    """Outputs [H, ways] of held-out examples after adapting to the kept ones, by their places in x."""
    network = learner.network
    if isinstance(learner, EmbeddingLearner) and not network.depends_on_batch:
        features = network.query(x, head=False)  # once: no fit changes them
        return lambda kept, labels, ways, held: learner.scored(
            learner.fitted(features[kept], labels, ways), features[held]
        )[:, :ways]

    # an example that is normalised by its batch is met among the whole support set: alone it would be all zeros
    together = network.norm == "batch" and network.transductive

    def adapted(kept: Tensor, labels: Tensor, ways: int, held: Tensor) -> Tensor:
        support = Examples(on_each(x, lambda part: part[kept]), labels, ways)
        with network.task(None, support):
            state = learner.adapt(support)
            if together:
                return learner.predict(state, x)[held, :ways]
            return learner.predict(state, on_each(x, lambda part: part[held]))[:, :ways]

    return adapted
