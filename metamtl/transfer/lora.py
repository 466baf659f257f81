"""LoRA: frozen weights plus a learned matrix of low rank.

Hu et al. (2022), LoRA: Low-Rank Adaptation of Large Language Models, ICLR, equation 3: W + (alpha / r) B A, with B zero
at first. A convolution's weight counts as the matrix [out, in k k].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from metamtl.engine.network import Network
from metamtl.registry import register
from metamtl.transfer.base import Strategy
from metamtl.transfer.carry import carry
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.layers import change_weights


class LowRank(nn.Module):
    """W [out, ...] to W + scale B A."""

    def __init__(self, layer: nn.Module, rank: int, alpha: float) -> None:
        super().__init__()
        weight = layer.get_parameter("weight")
        rows, columns = weight.shape[0], weight[0].numel()
        self.scale = alpha / rank
        self.A = nn.Parameter(torch.empty(rank, columns, dtype=weight.dtype))
        self.B = nn.Parameter(torch.zeros(rows, rank, dtype=weight.dtype))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight."""
        return weight + self.scale * (self.B @ self.A).view_as(weight)


@register("transfer", "lora")
class LoRA(Strategy):
    """Every layer of the backbone learns `rank` directions; normalisation and the head learn as they do."""

    exclusive = "the layers of the backbone"

    def __init__(self, *, rank: int, alpha: float) -> None:
        self.rank, self.alpha = rank, alpha

    def reshape(self, backbone: nn.Module) -> None:
        """Low-rank changes in every linear and convolutional layer."""
        change_weights(backbone, lambda layer: LowRank(layer, self.rank, self.alpha), "lora")

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's backbone under changes that are zero."""
        carry(network, knowledge)
