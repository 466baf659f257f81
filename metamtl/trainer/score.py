"""How good parameters are that a target might begin with, on its validation split, as far as they are carried.

Where the head goes along, or every task makes its own, that is the learner's validation. Of a backbone that labelled
examples will put a new head on, a head says nothing: then each validation example takes the class whose mean of
features over training examples is the nearest (Mensink, Verbeek, Perronnin & Csurka 2013, Distance-Based Image
Classification, IEEE TPAMI 35, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metamtl.algos.distances import similarity
from metamtl.algos.protonet import class_means
from metamtl.build import Parts
from metamtl.data.examples import ExampleSource
from metamtl.data.labelled import LabelledClasses
from metamtl.data.source import IntArray
from metamtl.data.task import Examples
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.families import Families
from metamtl.trainer.validation import validate
from metamtl.transfer.base import Score
from metamtl.transfer.carry import targets

AT_ONCE = 500  # examples of a pass
MOST = 2000  # training examples that class means are taken of


def score_of(families: Families) -> Score:
    """The validation score of the target with some parameters in its network, more is better."""

    def score(parameters: Mapping[str, Tensor], head: bool) -> float:
        kept = {name: tensor.clone() for name, tensor in families.module.state_dict().items()}
        try:
            for parts in families.each.values():
                _put(parts, parameters, head)
            if not head and families.first.source.labelled:
                each = [nearest_mean_accuracy(parts) for parts in families.each.values()]
                return sum(each) / len(each)
            found = validate(families, World(0, 1), {})
        finally:
            families.module.load_state_dict(kept)
        return found.score if found.higher_is_better else -found.score

    return score


def nearest_mean_accuracy(parts: Parts) -> float:
    """The accuracy of the nearest class mean on the validation examples; UsageError where labels are no classes."""
    if not isinstance(parts.family, LabelledClasses) or not isinstance(parts.source, ExampleSource):
        raise UsageError(
            f"transfer=soup compares backbones without heads by their classes' means, and {parts.source.name} has no "
            "classes of whole examples: set transfer.soup.head=true, or take transfer=fedavg."
        )
    with torch.no_grad(), parts.testing(), parts.autocast():
        known, labels = _features(parts, parts.source.items("train")[:MOST])
        features, wanted = _features(parts, parts.source.items("val"))
        means = class_means(known, labels, parts.family.outputs)
        nearest = similarity("euclidean", features, means)
        outputs = nearest.masked_fill(nearest.isnan(), -torch.inf)  # a class without an example has no mean
        return float(parts.family.metrics(outputs, Examples(features, wanted))["accuracy"])


def _features(parts: Parts, items: IntArray) -> tuple[Tensor, Tensor]:
    assert isinstance(parts.source, ExampleSource)
    network, prepare, found = parts.learner.network, parts.preparation, []
    for start in range(0, len(items), AT_ONCE):
        x = prepare.every_input(parts.source.gather(items[start : start + AT_ONCE]))
        found.append(network.query(x, head=False))
    return torch.cat(found).double(), prepare.targets(parts.source.targets(items))


def _put(parts: Parts, parameters: Mapping[str, Tensor], head: bool) -> None:
    with torch.no_grad():
        for name, tensor in targets(parts.learner.network).items():
            there = name in parameters and parameters[name].shape == tensor.shape
            if there and (head or name.startswith("backbone.")):
                tensor.copy_(parameters[name])
