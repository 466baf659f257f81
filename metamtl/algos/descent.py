"""Inner loops of gradient steps on a support set: what MAML and the methods that grew from it share.

What a method varies is how an inner step changes a weight: its `update`, or `descend` where steps remember. With
`head_init: prototype` a task's head starts from its class means, so that the names of classes mean nothing to the
meta-learned weights: Triantafillou et al. (2020), Meta-Dataset, ICLR, section 4 (Proto-MAML), w_k = 2 c_k and b_k =
-||c_k||^2, the squared distance to c_k less what all classes share (Snell et al. 2017, equation 8).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.base import Learner
from metamtl.algos.protonet import class_means
from metamtl.backbones.norm import Statistics
from metamtl.data.family import Classification
from metamtl.data.task import Examples, Tensors
from metamtl.engine.flat import inner_step
from metamtl.engine.inner import Order, Weights, gradient
from metamtl.engine.terms import added, inner_view
from metamtl.errors import UsageError

Layers = Literal["all", "head", "body"]
HeadInit = Literal["learned", "prototype"]


@dataclass
class Adapted:
    """The fast weights of a task, and its support set's statistics where its queries are normalised by them."""

    weights: Weights
    statistics: list[Statistics] | None


class InnerLoop(Learner):
    """Inner steps on the layers that `adapt` names, from meta-learned weights or from prototypes."""

    def __init__(
        self,
        *,
        inner_steps: int,
        test_steps: int | None,
        order: Order,
        adapt: Layers,
        head_init: HeadInit = "learned",
        **context: Any,
    ) -> None:
        super().__init__(**context)
        self.inner_steps, self.test_steps = inner_steps, inner_steps if test_steps is None else test_steps
        self.order, self.head_init, self.learns_ways = order, head_init, head_init == "learned"
        in_head = {"all": (True, False), "head": (True,), "body": (False,)}[adapt]
        self.inner_names = [name for name in self.network.adaptable if name.startswith("head.") in in_head]
        if not self.inner_names and self.network.constants:
            raise UsageError(
                f"adapt={adapt}: the backbone is frozen, so inner steps have nothing to change: take adapt=head "
                "(algo=anil), backbone.frozen=false, or a backbone.projection."
            )
        if head_init == "prototype":
            self._check_prototypes()

    @abstractmethod
    def descend(self, weights: Weights, loss: Callable[[Weights], Tensor]) -> Weights:
        """The weights after this phase's inner steps on an inner loss."""

    def adapt(self, support: Examples) -> Adapted:
        """Fast weights after the inner steps of this phase."""
        weights = self.descend(self.initial_weights(support), self.support_loss(support))
        return Adapted(weights, self.network.support_statistics(support.x, weights))

    def predict(self, state: Adapted, x: Tensors) -> Tensor:
        """Outputs of the adapted network."""
        return self.network.query(x, state.weights, state.statistics)

    def support_loss(self, support: Examples) -> Callable[[Weights], Tensor]:
        """The inner loss of fast weights: the family's loss on the support set, and what transfer adds to it."""

        def loss(fast: Weights) -> Tensor:
            outputs = self.network.support(support.x, fast)
            of_family = self.family.loss(outputs, support)
            if not self.terms:
                return of_family
            view = inner_view(self.network, fast, support, outputs, self.progress)
            return added(of_family, self.terms.items(), "inner", view)[0]

        return loss

    @property
    def steps(self) -> int:
        """The inner steps of this phase."""
        return self.inner_steps if self.training else self.test_steps

    @property
    def starts_from_itself(self) -> bool:
        """Whether the inner loop starts from, or runs under, what the weights that it changes have made."""
        return self.head_init == "prototype" or self.network.film is not None

    def initial_weights(self, support: Examples, features: Tensor | None = None) -> Weights:
        """The weights that the inner loop changes, before its first step; `features` [S, D] where they are known."""
        own = self.weights()
        weights = {name: own[name] for name in self.inner_names}
        if self.starts_from_itself:
            # views, as the inner slope at the body must not pass through what is made by it: prototypes, an embedding
            weights = {name: weight.view_as(weight) for name, weight in weights.items()}
        if self.head_init == "prototype":
            known = self.network.support(support.x, head=False) if features is None else features
            weights |= prototype_head(known, support, self.family.outputs)
        return weights

    def weights(self) -> Weights:
        """The network's meta-learned weights by their names."""
        return dict(self.network.named_parameters())

    def _check_prototypes(self) -> None:
        if not isinstance(self.family, Classification):
            raise UsageError("head_init=prototype takes class means; this data has no classes: use head_init=learned.")
        if "head.weight" not in self.inner_names:
            raise UsageError("head_init=prototype makes a task's head, which adapt=body leaves alone: use adapt=all.")
        if not isinstance(self.network.head, nn.Linear):
            raise UsageError("head_init=prototype sets a linear head; this family has another: use head_init=learned.")


class Descent(InnerLoop):
    """Inner steps that follow from the weights, their gradients and the number of the step alone."""

    inner_terms = True

    @abstractmethod
    def update(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """The fast weights after inner step number `step` (from 0)."""

    def descend(self, weights: Weights, loss: Callable[[Weights], Tensor]) -> Weights:
        """One update after another."""
        return self.stepped(weights, partial(self.after, loss))

    def stepped(self, weights: Weights, after: Callable[[int, Weights], Weights]) -> Weights:
        """The weights after this phase's inner steps, each made by its number and the weights before it."""
        for step in range(self.steps):
            weights = inner_step(partial(after, step), weights)
        return weights

    def after(self, loss: Callable[[Weights], Tensor], step: int, weights: Weights) -> Weights:
        """The fast weights after inner step number `step` on an inner loss."""
        return self.update(weights, gradient(loss, weights, self.order), step)


def prototype_head(features: Tensor, support: Examples, outputs: int) -> Weights:
    """The linear head of class means c_k: w_k = 2 c_k [outputs, D] and b_k = -||c_k||^2; zero beyond the ways."""
    ways = support.ways or 0
    means = F.pad(class_means(features, support.labels, ways), (0, 0, 0, outputs - ways))
    return {"head.weight": 2 * means, "head.bias": -means.square().sum(1)}
