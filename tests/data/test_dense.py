"""Families of regions, boxes and several classes: their figures against plain counting, and labels that are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import vmap

from metamtl.backbones.conv4 import Conv4
from metamtl.backbones.mlp import MLP
from metamtl.data.dense import Boxes, Segmentation, SeveralClasses
from metamtl.data.family import Family
from metamtl.data.task import Examples
from metamtl.errors import UsageError
from metamtl.evaluation.ratios import with_ratios

X = torch.zeros(1)


def examples(y: Tensor) -> Examples:
    return Examples(X, y)


def whole_split(family: Family, outputs: Tensor, y: Tensor) -> dict[str, float]:
    """The figures of a split, as the evaluation takes them from those of single examples."""

    def one(output: Tensor, label: Tensor) -> dict[str, Tensor]:
        example = examples(label.unsqueeze(0))
        return {**family.metrics(output.unsqueeze(0), example), **family.counts(output.unsqueeze(0), example)}

    figures = {name: values.double().numpy() for name, values in vmap(one)(outputs, y).items()}
    return {name: float(np.nanmean(values)) for name, values in with_ratios(figures, family.ratios).items()}


def test_intersection_over_union_is_counted_over_all_pixels_of_a_split() -> None:
    """Against a plain count; a class that no pixel has and none is taken for does not count."""
    torch.manual_seed(0)
    family = Segmentation("made", 4, (5, 6))
    outputs, y = torch.randn(7, 4, 5, 6), torch.randint(-1, 3, (7, 5, 6))
    outputs[:, 3] = -9.0
    found, known = outputs.argmax(1), y >= 0
    each = [((found == c) & (y == c)).sum() / (((found == c) | (y == c)) & known).sum() for c in range(3)]
    figures = whole_split(family, outputs, y)
    assert figures["iou"] == pytest.approx(float(sum(each)) / 3, rel=1e-6)
    assert figures["pixel_accuracy"] == pytest.approx(float((found == y).sum() / known.sum()), rel=1e-6)
    assert set(figures) == {"iou", "pixel_accuracy"}
    one = family.metrics(outputs, examples(y))
    assert float(one["iou"]) == pytest.approx(figures["iou"], rel=1e-6)


def test_regions_are_told_from_the_last_map_at_the_size_of_the_labels() -> None:
    backbone = Conv4(input_shape=(3, 20, 24), width=4, blocks=2, downsample="pool", readout="flatten", norm="none")
    family = Segmentation("made", 3, (20, 24))
    family.read(backbone)
    outputs = family.head(backbone.features)(backbone(torch.randn(2, 3, 20, 24)))
    assert outputs.shape == (2, 3, 20, 24)
    with pytest.raises(UsageError, match="take conv4 or resnet12"):
        family.read(MLP(input_shape=(3,), hidden=[4], norm="none"))


@pytest.mark.parametrize(
    ("found", "wanted", "iou", "generalised"),
    [
        ((0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 0.5, 0.5), 1.0, 1.0),
        ((0.0, 0.0, 0.5, 0.5), (0.25, 0.0, 0.75, 0.5), 1 / 3, 1 / 3),  # the box around both is their union
        ((0.0, 0.0, 0.2, 0.2), (0.8, 0.8, 1.0, 1.0), 0.0, -0.92),  # 1 - 0.08 of the whole picture is in neither
    ],
)
def test_boxes_by_hand(found: Any, wanted: Any, iou: float, generalised: float) -> None:
    family = Boxes("made", 4)
    low, high = torch.tensor(found[:2]), torch.tensor(found[2:])
    centred = torch.cat([(low + high) / 2, high - low])
    outputs, y = torch.logit(centred)[None], torch.tensor([wanted])
    assert float(family.metrics(outputs, examples(y))["iou"]) == pytest.approx(iou, abs=1e-5)
    other = torch.tensor([wanted])
    distance = (centred - torch.cat([(other[0, :2] + other[0, 2:]) / 2, other[0, 2:] - other[0, :2]])).abs().sum()
    loss = 5 * float(distance) + 2 * (1 - generalised)
    assert float(family.loss(outputs, examples(y))) == pytest.approx(loss, abs=1e-4)


def test_f1_of_several_classes_is_that_of_the_whole_split() -> None:
    torch.manual_seed(1)
    family = SeveralClasses("made", 5)
    outputs, y = torch.randn(9, 5), torch.randint(-1, 2, (9, 5))
    found, there = (outputs > 0) & (y >= 0), y == 1
    right = float((found & there).sum())
    figures = whole_split(family, outputs, y)
    precision, recall = right / float(found.sum()), right / float(there.sum())
    assert figures["precision"] == pytest.approx(precision) and figures["recall"] == pytest.approx(recall)
    assert figures["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_average_precision_is_that_of_each_examples_ranking() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(4)
    family = SeveralClasses("made", 6)
    outputs, y = torch.randn(20, 6).round(decimals=1), torch.randint(0, 2, (20, 6))  # some are equal
    y[:, 0] = 1
    wanted = metrics.label_ranking_average_precision_score(y.numpy(), outputs.numpy())
    assert float(family.metrics(outputs, examples(y))["average_precision"]) == pytest.approx(wanted, rel=1e-6)
    assert whole_split(family, outputs, y)["average_precision"] == pytest.approx(wanted, rel=1e-6)
    y[3] = 0  # nothing to rank
    rest = torch.arange(20) != 3
    wanted = metrics.label_ranking_average_precision_score(y[rest].numpy(), outputs[rest].numpy())
    assert whole_split(family, outputs, y)["average_precision"] == pytest.approx(wanted, rel=1e-6)


def regions() -> tuple[Family, Tensor, Tensor, Tensor]:
    y = torch.randint(0, 3, (4, 6, 6))
    return Segmentation("made", 3, (6, 6)), torch.randn(4, 3, 6, 6), y, torch.full_like(y, -1)


def boxes() -> tuple[Family, Tensor, Tensor, Tensor]:
    y = torch.tensor([[0.1, 0.2, 0.6, 0.7]]).repeat(4, 1)
    return Boxes("made", 4), torch.randn(4, 4), y, torch.full_like(y, torch.nan)


def classes() -> tuple[Family, Tensor, Tensor, Tensor]:
    y = torch.randint(0, 2, (4, 3))
    return SeveralClasses("made", 3), torch.randn(4, 3), y, torch.full_like(y, -1)


@pytest.mark.parametrize("make", [regions, boxes, classes])
def test_what_is_missing_takes_no_part(make: Callable[[], tuple[Family, Tensor, Tensor, Tensor]]) -> None:
    """Neither in the loss nor in its gradient nor in the figures."""
    torch.manual_seed(2)
    family, outputs, y, nothing = make()
    y[[1, 3]] = nothing[[1, 3]]
    outputs.requires_grad_()
    loss = family.loss(outputs, examples(y))
    torch.testing.assert_close(loss, family.loss(outputs[[0, 2]], examples(y[[0, 2]])))
    (slope,) = torch.autograd.grad(loss, outputs)
    assert slope.isfinite().all() and not slope[[1, 3]].any() and slope[0].any() and slope[2].any()
    none = family.loss(outputs, examples(nothing))
    assert none == 0 and not torch.autograd.grad(none, outputs)[0].any()
    assert all(value.isnan() for value in family.metrics(outputs, examples(nothing)).values())
    known = family.metrics(outputs[[0, 2]], examples(y[[0, 2]]))
    for name, value in family.metrics(outputs, examples(y)).items():
        torch.testing.assert_close(value, known[name])


@pytest.mark.parametrize("make", [regions, boxes, classes])
def test_the_loss_falls_to_where_the_figures_are_best(
    make: Callable[[], tuple[Family, Tensor, Tensor, Tensor]],
) -> None:
    torch.manual_seed(3)
    family, outputs, y, _ = make()
    outputs.requires_grad_()
    optimiser = torch.optim.Adam([outputs], lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        family.loss(outputs, examples(y)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(family.metrics(outputs.detach(), examples(y))[family.metric]) > 0.9
