"""Meta-transfer: the source's weights stay, and a scale and a shift of each are meta-learned.

Sun, Liu, Chua & Schiele (2019), Meta-Transfer Learning for Few-Shot Learning, CVPR, equation 5: SS(X; W, b) =
(W o S1) X + (b + S2), with one scale for each pair of channels and one shift for each output. Its inner loop changes
the head alone: algo=anil.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from metamtl.engine.network import Network
from metamtl.registry import register
from metamtl.transfer.base import Strategy
from metamtl.transfer.carry import carry
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.layers import change_weights, freeze


class Scale(nn.Module):
    """W [out, in, ...] times a scale [out, in, 1 ...], one at first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight = layer.get_parameter("weight")
        self.scale = nn.Parameter(torch.ones(*weight.shape[:2], *(1 for _ in weight.shape[2:]), dtype=weight.dtype))

    def forward(self, weight: Tensor) -> Tensor:
        """The scaled weight."""
        return weight * self.scale


class Shift(nn.Module):
    """A bias [out] plus a shift, zero at first."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros_like(bias))

    def forward(self, bias: Tensor) -> Tensor:
        """The shifted bias."""
        return bias + self.shift


@register("transfer", "meta_transfer")
class MetaTransfer(Strategy):
    """Scales and shifts in every layer of the backbone; normalisation and the head learn as they do."""

    exclusive = "the layers of the backbone"

    def reshape(self, backbone: nn.Module) -> None:
        """A scale on every weight, a shift on every bias that there is."""
        for layer in change_weights(backbone, Scale, "meta_transfer"):
            if getattr(layer, "bias", None) is not None:
                shift = Shift(layer.get_parameter("bias"))
                freeze(layer, "bias")
                parametrize.register_parametrization(layer, "bias", shift)

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's backbone under scales of one."""
        carry(network, knowledge)
