"""FiLM: one backbone, modulated after every block by an embedding of the family.

Perez et al. (2018), FiLM: Visual Reasoning with a General Conditioning Layer, AAAI, equation 2: each channel becomes
(1 + gamma) h + beta, with gamma and beta linear in an embedding, here one that a family learns for itself. The layers
that make them are shared and start at zero, so that all families begin with the plain backbone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metamtl.registry import register
from metamtl.sharing.base import MakeBackbone, Shape, Sharing, blocks_of, only_shape, twin


class Modulated(nn.Module):
    """A block whose output's channels are scaled and shifted."""

    def __init__(self, block: nn.Module, channels: int, embedding: nn.Parameter) -> None:
        super().__init__()
        self.block, self.embedding = block, embedding
        self.film = nn.Linear(len(embedding), 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output [N, C, H, W], or with the channels last, modulated."""
        h: Tensor = self.block(x)
        gamma, beta = self.film(self.embedding).chunk(2)
        if h.dim() == 4:
            gamma, beta = gamma[:, None, None], beta[:, None, None]
        modulated: Tensor = h * (1 + gamma) + beta
        return modulated


@register("sharing", "film")
class FiLM(Sharing):
    """All is shared but the families' embeddings of length `embedding`."""

    def __init__(self, *, embedding: int) -> None:
        self.embedding = embedding

    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """Twins of one modulated backbone, each with its family's embedding."""
        first = only_shape(shapes, "film")
        shared = make(first)
        channels, blocks = channels_of(shared, shapes[first], "film"), blocks_of(shared, "film")
        one = nn.Parameter(torch.randn(self.embedding))
        for number, block in enumerate(blocks):
            blocks[number] = Modulated(block, channels[number], one)
        found = {name: twin(shared) for name in shapes}
        for backbone in list(found.values())[1:]:
            own = nn.Parameter(torch.randn(self.embedding))
            for module in backbone.modules():
                if isinstance(module, Modulated):
                    module.embedding = own
        return found


def channels_of(backbone: nn.Module, shape: Shape, pattern: str) -> list[int]:
    """How many channels each block puts out, seen in a pass over zeros."""
    found: list[int] = []
    hooks = [
        block.register_forward_hook(lambda module, x, y: found.append(y.shape[1 if y.dim() == 4 else -1]))
        for block in blocks_of(backbone, pattern)
    ]
    with torch.no_grad():
        backbone(torch.zeros(2, *shape))
    for hook in hooks:
        hook.remove()
    return found
