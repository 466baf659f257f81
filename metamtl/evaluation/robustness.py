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

import numpy as np
import torch
from torch import Tensor, nn

from metamtl.backbones.inputs import blank_inputs
from metamtl.build import Parts
from metamtl.data.dense import Boxes, Segmentation
from metamtl.data.examples import ExampleSource
from metamtl.data.family import Classification
from metamtl.data.sampler import eval_key
from metamtl.data.source import Split
from metamtl.data.task import TaskBatch, on_each
from metamtl.evaluation.disturbances import INPUTS, WRONG_LABELS, mislabelled
from metamtl.evaluation.examples import figures_of_examples
from metamtl.evaluation.ratios import with_ratios
from metamtl.runs.result import Summary, summary

_AT_ONCE = 100  # episodes, or examples
Inputs = Callable[[Tensor, int], Tensor]  # queries, or examples, and a seed
Labels = Callable[[TaskBatch, int], TaskBatch]  # tasks and a seed


def robustness(parts: Parts, split: Split, count: int) -> dict[str, list[dict[str, Any]]]:
    """By disturbance, the family's metric over `count` episodes (or examples) at each severity, the first undisturbed.

    Each point has `severity` and the metric's mean, ci95 and episodes. Empty where nothing can be disturbed.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    with torch.no_grad(), parts.testing(), parts.autocast():
        plain = {"severity": 0.0, **_figure(parts, split, count)}
        for name, severity, inputs, labels in _disturbances(parts):
            point = {"severity": severity, **_figure(parts, split, count, inputs, labels)}
            found.setdefault(name, [plain]).append(point)
    return found


def _disturbances(parts: Parts) -> Iterator[tuple[str, float, Inputs, Labels]]:
    """What can be done to the family's inputs and labels, at every severity."""
    for name in _of_inputs(parts):
        disturb, severities = INPUTS[name]
        for severity in severities:
            yield name, severity, partial(_disturbed, disturb, severity), _as_they_are
    if isinstance(parts.family, Classification) and not parts.source.labelled:
        for share in WRONG_LABELS:
            yield "support_labels", share, _as_they_are, partial(_mislabelled, share)


def _of_inputs(parts: Parts) -> Sequence[str]:
    backbone, shape = parts.learner.network.backbone, tuple(parts.source.input_shape)
    assert isinstance(backbone, nn.Module)
    if not blank_inputs(backbone, 1, shape).is_floating_point():  # tokens
        return ()
    if len(shape) != 3 or min(shape[1:]) < 2:
        return ("noise",)
    return ("noise", "blur") if isinstance(parts.family, Segmentation | Boxes) else ("noise", "blur", "rotation")


def _disturbed(disturb: Any, severity: float, x: Tensor, seed: int) -> Tensor:
    found: Tensor = disturb(x, severity, seed)
    return found


def _mislabelled(share: float, batch: TaskBatch, seed: int) -> TaskBatch:
    return replace(batch, support=mislabelled(batch.support, share, seed))


def _as_they_are(given: Any, seed: int) -> Any:
    return given


def _figure(
    parts: Parts, split: Split, count: int, inputs: Inputs = _as_they_are, labels: Labels = _as_they_are
) -> Summary:
    """The family's metric over the first tasks of the test, or examples of the split."""
    of = (
        _of_examples(parts, split, count, inputs)
        if parts.source.labelled
        else _of_tasks(parts, split, count, inputs, labels)
    )
    every = list(of)
    found = {name: torch.cat([each[name].cpu() for each in every]).double().numpy() for name in every[0]}
    if parts.source.labelled:
        found = with_ratios(found, parts.family.ratios)
    values = found[parts.family.metric]
    return summary(values[~np.isnan(values)])


def _of_tasks(parts: Parts, split: Split, count: int, inputs: Inputs, labels: Labels) -> Iterator[dict[str, Tensor]]:
    key = eval_key(parts.config["eval"]["seed"], parts.source, split, parts.test_shape)
    for start in range(0, count, _AT_ONCE):
        numbers = np.arange(start, min(start + _AT_ONCE, count))
        for group in parts.source.episodes(split, parts.test_shape, numbers, key):
            batch = labels(parts.preparation.batch(group), start)
            assert isinstance(batch.query.x, Tensor)
            query = replace(batch.query, x=inputs(batch.query.x, start))
            yield parts.engine.evaluate([replace(batch, query=query)])


def _of_examples(parts: Parts, split: Split, count: int, inputs: Inputs) -> Iterator[dict[str, Tensor]]:
    assert isinstance(parts.source, ExampleSource)
    items = parts.source.items(split)[:count]
    for start in range(0, len(items), _AT_ONCE):
        yield figures_of_examples(parts, items[start : start + _AT_ONCE], partial(_every, inputs, start))


def _every(inputs: Inputs, seed: int, x: Any) -> Any:
    """Each part of an example that is of numbers."""
    return on_each(x, lambda tensor: inputs(tensor, seed) if tensor.is_floating_point() else tensor)
