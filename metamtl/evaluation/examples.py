"""Testing on ordinary labelled examples: every example of a split, each with figures of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap

from metamtl.build import Parts
from metamtl.data.examples import ExampleSource
from metamtl.data.source import IntArray
from metamtl.data.task import Examples, Tensors


def figures_of_examples(
    parts: Parts, items: IntArray, change: Callable[[Tensors], Tensors] = lambda x: x
) -> dict[str, Tensor]:
    """Loss, metrics and counts [n] of the examples `items`; a figure of a missing label is NaN, its loss zero.

    `change` is made of their inputs.
    """
    outputs, examples = outputs_of_examples(parts, items, change)
    family = parts.family

    def one(output: Tensor, label: Tensor) -> dict[str, Tensor]:
        example = Examples(output.unsqueeze(0), label.unsqueeze(0))
        found = output.unsqueeze(0)
        own = {**family.metrics(found, example), **family.counts(found, example)}
        return {"loss": family.loss(found, example), **own}

    figures: dict[str, Tensor] = vmap(one)(outputs, examples.labels)
    return {name: values.cpu() for name, values in figures.items()}


def outputs_of_examples(
    parts: Parts, items: IntArray, change: Callable[[Tensors], Tensors] = lambda x: x
) -> tuple[Tensor, Examples]:
    """Outputs [n, ...] for the examples `items`, and these examples."""
    assert isinstance(parts.source, ExampleSource)
    x = change(parts.preparation.every_input(parts.source.gather(items)))
    examples = Examples(x, parts.preparation.targets(parts.source.targets(items)))
    with torch.no_grad():
        return parts.learner.predict(parts.learner.adapt(examples), x), examples
