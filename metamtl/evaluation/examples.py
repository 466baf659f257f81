"""Testing on ordinary labelled examples: every example of a split, each with figures of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import vmap

from metamtl.build import Parts
from metamtl.data.examples import ExampleSource
from metamtl.data.source import IntArray
from metamtl.data.task import Examples


def figures_of_examples(parts: Parts, items: IntArray) -> dict[str, Tensor]:
    """Loss, metrics and counts [n] of the examples `items`; a figure of a missing label is NaN, its loss zero."""
    assert isinstance(parts.source, ExampleSource)
    x = parts.preparation.every_input(parts.source.gather(items))
    y = parts.preparation.targets(parts.source.targets(items))
    learner, family = parts.learner, parts.family
    with torch.no_grad():
        outputs = learner.predict(learner.adapt(Examples(x, y)), x)

    def one(output: Tensor, label: Tensor) -> dict[str, Tensor]:
        example = Examples(output.unsqueeze(0), label.unsqueeze(0))
        found = output.unsqueeze(0)
        own = {**family.metrics(found, example), **family.counts(found, example)}
        return {"loss": family.loss(found, example), **own}

    figures: dict[str, Tensor] = vmap(one)(outputs, y)
    return {name: values.cpu() for name, values in figures.items()}
