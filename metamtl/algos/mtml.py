"""MTML: initial weights from which a few joint gradient steps learn a task of each of several families.

Upadhyay, Chhipa, Phlypo, Saini & Liwicki (2022), Multi-Task Meta Learning: learn how to adapt to unseen tasks,
arXiv:2210.06989: a meta-task is a subset c of the families, of two at least (`mixing.rule=subsets`). The inner steps
descend on the support losses of all of c, and the outer update lowers their query losses, which the paper weighs by
uncertainty (`weighting=uncertainty`; any other weighting does). The paper's tasks are dense labels of one picture, its
updates first order; here families are few-shot ones, which may share inputs or not, and the order is MAML's.

An inner step moves a weight by the mean slope over those families of c that have it: what is shared by their mean, a
head by its own, at the same rate however many there are. So a family that is met alone, as at test, is a subset of one
and is adapted to as by MAML.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from metamtl.algos.base import Learner, Stage
from metamtl.algos.descent import Adapted
from metamtl.algos.maml import MAML
from metamtl.backbones.noise import DropBlock
from metamtl.data.task import Examples, Task
from metamtl.engine.inner import Weights, gradient
from metamtl.errors import UsageError
from metamtl.registry import register

OWN = ""  # the family that a learner is of, among those that it is learnt together with


@register("algo", "mtml")
class MTML(MAML):
    """Gradient descent on the support sets of a task and of those beside it."""

    stages = (Stage("meta", "episodes", together=True),)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.others: Mapping[str, MTML] = {}
        self.together = nn.ModuleDict()  # the network of each
        self.names = self._names()

    def join(self, others: Mapping[str, Learner]) -> None:
        """The other families' learners; UsageError where they have other inner steps, or a pass has noise."""
        self.others = {name: other for name, other in others.items() if isinstance(other, MTML)}
        for name, other in self.others.items():
            for key in ("inner_lr", "inner_steps", "order"):
                if getattr(self, key) != getattr(other, key):
                    raise UsageError(
                        f"families.{name}: algo.{key}={getattr(other, key)}, and another family has "
                        f"{getattr(self, key)}: families take the inner steps of algo=mtml together, at one {key}."
                    )
            if any(isinstance(layer, DropBlock) and layer.rate > 0 for layer in other.network.modules()):
                raise UsageError("algo=mtml drops no activations in its joint steps: set backbone.drop_rate=0.")
            if other.network.film is not None:
                raise UsageError(
                    "algo=mtml meets tasks of other families beside a task, and transfer=film embeds one alone: leave "
                    "it, or take maml."
                )
        networks = {name: {"network": other.network} for name, other in self.others.items()}
        self.together = nn.ModuleDict({name: nn.ModuleDict(network) for name, network in networks.items()})
        self.names = self._names()

    def outer_loss(self, task: Task) -> tuple[Tensor, Tensor]:
        """The query loss after inner steps on the task and on those beside it."""
        outputs = self.predict(self.adapt_beside(task.support, task.beside), task.query.x)
        return self.family.loss(outputs, task.query), outputs

    def adapt(self, support: Examples) -> Adapted:
        """Fast weights after the inner steps of this phase on one family alone."""
        return self.adapt_beside(support, {})

    def adapt_beside(self, support: Examples, beside: Mapping[str, Examples]) -> Adapted:
        """The family's fast weights after inner steps on all support sets; `beside` are the others', by name."""
        members = [(self, support, self.names[OWN])]
        members += [(self.others[name], sets, self.names[name]) for name, sets in beside.items()]
        start: Weights = {}
        holders: Counter[str] = Counter()
        for learner, sets, names in members:
            for own, weight in learner.initial_weights(sets).items():
                start.setdefault(names[own], weight)
                holders[names[own]] += 1
        losses = [(learner.support_loss(sets), names) for learner, sets, names in members]

        def joint_loss(fast: Weights) -> Tensor:
            parts = [loss({own: fast[name] for own, name in names.items()}) for loss, names in losses]
            return sum(parts[1:], parts[0])

        def step(number: int, fast: Weights) -> Weights:
            slopes = gradient(joint_loss, fast, self.order)
            return self.update(fast, {name: slope / holders[name] for name, slope in slopes.items()}, number)

        fast = self.stepped(start, step)
        weights = {own: fast[name] for own, name in self.names[OWN].items()}
        return Adapted(weights, self.network.support_statistics(support.x, weights))

    def _names(self) -> dict[str, dict[str, str]]:
        """For each family, the weights that its inner steps change, each with its one name among those of all."""
        known: dict[int, str] = {}
        found = {}
        for family, learner in {OWN: self, **self.others}.items():
            weights = dict(learner.network.named_parameters())
            for name, weight in weights.items():
                known.setdefault(id(weight), f"{family}:{name}")
            found[family] = {name: known[id(weights[name])] for name in learner.inner_names}
        return found
