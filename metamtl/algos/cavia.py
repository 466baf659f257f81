"""CAVIA: a few context parameters are all that a task changes.

Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson (2019), Fast Context Adaptation via Meta-Learning, ICML, algorithm 1:
phi starts from zero for every task and takes the inner gradient steps (equation 4); the weights theta are met by the
outer update alone. The context conditions one layer, after its normalisation, which would take a shift of all
examples out again: `film` scales and shifts its channels by linear maps of phi with a bias (section 3.4, Perez et al.
2018), `shift` adds a linear map of phi, which is what concatenating phi to the input of a linear layer does (section
3.3). As in the authors' code the scale starts from the bias of a linear layer, near zero, so that a step at a rate of 1
changes it much; around a scale of one the same step changes next to nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from metamtl.algos.maml import MAML
from metamtl.backbones.conditioning import condition, conditionable, scaled_and_shifted
from metamtl.backbones.norm import NormKind
from metamtl.data.task import Examples
from metamtl.engine.inner import Weights
from metamtl.engine.network import Network
from metamtl.errors import UsageError
from metamtl.registry import register

Conditioning = Literal["film", "shift"]


class Conditioned(nn.Module):
    """A normalisation layer of x [N, C, ...] whose channels a context [K] scales and shifts."""

    context: Tensor

    def __init__(self, norm: nn.Module, channels: int, context: int, conditioning: Conditioning) -> None:
        super().__init__()
        self.norm = norm
        film = conditioning == "film"
        self.shift = nn.Linear(context, channels, bias=film)
        self.scale = nn.Linear(context, channels) if film else None
        self.register_buffer("context", torch.zeros(context), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """X normalised, then scaled by A phi + a (`shift`: by 1) and shifted by B phi + b (`shift`: B phi)."""
        normal, shift = self.norm(x), self.shift(self.context)
        scale = torch.ones_like(shift) if self.scale is None else self.scale(self.context)
        return scaled_and_shifted(normal, scale, shift)


@register("algo", "cavia")
class CAVIA(MAML):
    """Gradient descent on `context` parameters of layer number `layer` (null: the middle one)."""

    inner_terms = False  # its inner loop changes the context, which no other network has

    def __init__(self, *, context: int, conditioning: Conditioning, layer: int | None, **options: Any) -> None:
        self.context, self.conditioning, self.layer = context, conditioning, layer
        super().__init__(adapt="all", **options)
        self.inner_names = [name for name, _ in self.network.named_buffers() if name.endswith(".context")]

    def build_network(self, backbone: nn.Module, norm: NormKind) -> Network:
        """The backbone with one layer conditioned, under the family's head."""
        layers = conditionable(backbone)
        number = len(layers) // 2 if self.layer is None else self.layer
        if number >= len(layers):
            raise UsageError(f"algo.layer={number}: this backbone has {len(layers)} layers to condition, from 0.")
        name, channels = list(layers.items())[number]
        condition(backbone, name, lambda norm: Conditioned(norm, channels, self.context, self.conditioning))
        return super().build_network(backbone, norm)

    def initial_weights(self, support: Examples, features: Tensor | None = None) -> Weights:
        """A context of zeros (algorithm 1, line 5)."""
        buffers = dict(self.network.named_buffers())
        return {name: buffers[name] for name in self.inner_names}
