"""How a learner's figure falls where queries are disturbed, or support sets are labelled wrongly.

The tasks are those of the test. Queries are disturbed and support sets are not, as a model meets worse inputs than it
was made with; of ordinary examples those that are predicted. Both may be blurred and turned where labels stay true,
which outlines and boxes of a turned picture do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metamtl.backbones.inputs import blank_inputs
from metamtl.build import Parts
from metamtl.data.dense import Boxes, Segmentation
from metamtl.data.examples import ExampleSource
from metamtl.data.family import Classification
from metamtl.data.random import key_of, permutation
from metamtl.data.source import IntArray, Split
from metamtl.data.task import Examples, TaskBatch, Tensors, on_each
from metamtl.engine.world import World
from metamtl.evaluation.disturbances import INPUTS, WRONG_LABELS, mislabelled
from metamtl.evaluation.examples import figures_of_examples
from metamtl.evaluation.protocol import figures_of_episodes, in_blocks, summaries
from metamtl.runs.result import Summary

Inputs = Callable[..., Tensor]  # of queries, or examples, and a `seed`
Labels = Callable[..., Examples]  # of support sets and a `seed`


def robustness(parts: Parts, world: World, split: Split, count: int) -> dict[str, list[dict[str, Any]]]:
    """By disturbance, the family's metric over `count` episodes (or examples) at each severity, the first undisturbed.

    Each point has `severity` and the metric's mean, ci95 and episodes. Empty where nothing can be disturbed.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    with torch.no_grad(), parts.testing(), parts.autocast():
        plain = {"severity": 0.0, **_figure(parts, world, split, count)}
        for name, severity, inputs, labels in _disturbances(parts):
            point = {"severity": severity, **_figure(parts, world, split, count, inputs, labels)}
            found.setdefault(name, [plain]).append(point)
    return found


def _disturbances(parts: Parts) -> Iterator[tuple[str, float, Inputs, Labels]]:
    """What can be done to the family's inputs and labels, at every severity."""
    for name in _of_inputs(parts):
        disturb, severities = INPUTS[name]
        for severity in severities:
            yield name, severity, partial(disturb, severity=severity), _as_they_are
    if isinstance(parts.family, Classification) and not parts.source.labelled:
        for share in WRONG_LABELS:
            yield "support_labels", share, _as_they_are, partial(mislabelled, share=share)


def _of_inputs(parts: Parts) -> Sequence[str]:
    backbone, shape = parts.learner.network.backbone, tuple(parts.source.input_shape)
    assert isinstance(backbone, nn.Module)
    if not blank_inputs(backbone, 1, shape).is_floating_point():  # tokens
        return ()
    if len(shape) != 3 or min(shape[1:]) < 2:
        return ("noise",)
    return ("noise", "blur") if isinstance(parts.family, Segmentation | Boxes) else ("noise", "blur", "rotation")


def _as_they_are(given: Any, *, seed: int) -> Any:
    return given


def _figure(
    parts: Parts,
    world: World,
    split: Split,
    count: int,
    inputs: Inputs = _as_they_are,
    labels: Labels = _as_they_are,
) -> Summary:
    """The family's metric over the first tasks of the test, or examples of the split drawn by `eval.seed`."""
    source = parts.source
    if isinstance(source, ExampleSource):
        items = source.items(split)  # which files may list class by class
        items = items[permutation(len(items), key_of("robustness", parts.config["eval"]["seed"]))[:count]]

        def figures(numbers: IntArray) -> dict[str, Tensor]:
            return figures_of_examples(parts, items[numbers], lambda x: _every(inputs, x, int(numbers[0])))

        count = len(items)
    else:

        def figures(numbers: IntArray) -> dict[str, Tensor]:
            return figures_of_episodes(parts, split, numbers, lambda batch: _changed(batch, inputs, labels, numbers[0]))

    return summaries(parts, in_blocks(parts, world, count, figures))[parts.family.metric]


def _changed(batch: TaskBatch, inputs: Inputs, labels: Labels, first: int) -> TaskBatch:
    seed = int(first)
    query = replace(batch.query, x=_every(inputs, batch.query.x, seed))
    return replace(batch, support=labels(batch.support, seed=seed), query=query)


def _every(inputs: Inputs, x: Tensors, seed: int) -> Tensors:
    """Each part of an example that is of numbers."""
    return on_each(x, lambda tensor: inputs(tensor, seed=seed) if tensor.is_floating_point() else tensor)
