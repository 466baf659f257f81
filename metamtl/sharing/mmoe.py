"""MMoE: backbones that all families share, the experts, and for each family a gate of its own that mixes them.

Ma et al. (2018), Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD, equations
6 to 8. The gate reads the experts' mean features and not the raw input, so that it serves images and words too.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metamtl.registry import register
from metamtl.sharing.base import Around, MakeBackbone, Shape, Sharing, only_shape, twin


class Mixture(Around):
    """The experts' features under a gate: softmax weights of each example, word or place."""

    def __init__(self, experts: list[nn.Module]) -> None:
        super().__init__(experts)
        self.begin()

    def begin(self) -> None:
        """A new gate."""
        self.gate = nn.Linear(self.features, len(self.inner))

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, D], [N, L, D], or maps [N, D, H, W]."""
        every = torch.stack([expert(x) for expert in self.inner])
        channels = 2 if every.dim() == 5 else -1
        last = every.movedim(channels, -1)
        shares = torch.softmax(self.gate(last.mean(0)), -1)
        mixed = (last * shares.movedim(-1, 0).unsqueeze(-1)).sum(0)
        return mixed.movedim(-1, 1) if every.dim() == 5 else mixed


@register("sharing", "mmoe")
class MMoE(Sharing):
    """`experts` backbones; a pass costs as many."""

    def __init__(self, *, experts: int) -> None:
        self.experts = experts

    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """Twins of the experts under a gate for each family."""
        first = only_shape(shapes, "mmoe")
        experts = [make(first) for _ in range(self.experts)]
        return {name: Mixture([twin(expert) for expert in experts]) for name in shapes}
