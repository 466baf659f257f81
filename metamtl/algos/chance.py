"""Chance: equal outputs for all ways, the floor under every figure.

The first way wins every tie, and labels are dealt to a task's classes at random: the expected accuracy is 1 / ways, and
it is just that in every task with as many queries of each class. The loss is log(ways).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metamtl.algos.base import Learner, Stage
from metamtl.backbones.norm import NormKind
from metamtl.data.family import Classification
from metamtl.data.task import Examples, Tensors, size
from metamtl.engine.network import Network
from metamtl.errors import UsageError
from metamtl.registry import register


@register("algo", "chance")
class Chance(Learner):
    """Looks at nothing: no weights, so there is no stage to train; the backbone takes no part."""

    stages: Sequence[Stage] = ()

    def build_network(self, backbone: nn.Module, norm: NormKind) -> Network:
        """No weights and nothing to normalise."""
        if not isinstance(self.family, Classification):
            raise UsageError(
                "algo=chance guesses the class of an example; this data has none: use algo=maml trainer.steps=0."
            )
        return Network(nn.Identity(), None, "none")

    def adapt(self, support: Examples) -> Tensor:
        """The outputs [ways] of any query."""
        return torch.zeros(support.ways or 0, device=support.labels.device)

    def predict(self, state: Tensor, x: Tensors) -> Tensor:
        """The same outputs [Q, ways] for every query."""
        return state.expand(size(x), -1)
