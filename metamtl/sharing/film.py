"""FiLM: one backbone, every layer of which is modulated by an embedding of the family.

Perez et al. (2018), FiLM: Visual Reasoning with a General Conditioning Layer, AAAI, equation 2: each channel becomes
(1 + gamma) h + beta, after its normalisation and before what rectifies it, with gamma and beta linear in an embedding,
here one that a family learns for itself. (Behind the last rectifier a family's own linear head would undo them, so that
they could say nothing.) The layers that make them are shared and start at zero, so that all families begin with the
plain backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from metamtl.backbones.conditioning import condition, conditionable, scaled_and_shifted
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.sharing.base import MakeBackbone, Shape, Sharing, only_shape, twin


class Modulated(nn.Module):
    """A layer whose output's channels are scaled and shifted."""

    def __init__(self, layer: nn.Module, channels: int, embedding: nn.Parameter) -> None:
        super().__init__()
        self.layer, self.embedding = layer, embedding
        self.film = nn.Linear(len(embedding), 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output [N, C], [N, C, H, W] or, of words, [N, L, C], modulated."""
        gamma, beta = self.film(self.embedding).chunk(2)
        return scaled_and_shifted(self.layer(x), 1 + gamma, beta)


@register("sharing", "film")
class FiLM(Sharing):
    """All is shared but the families' embeddings of length `embedding`."""

    def __init__(self, *, embedding: int) -> None:
        self.embedding = embedding

    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """Twins of one modulated backbone, each with its family's embedding; UsageError where it has no layers."""
        shared = make(only_shape(shapes, "film"))
        layers = conditionable(shared)
        if not layers:
            raise UsageError("sharing=film modulates the layers of a backbone, of which this one has none of its own.")
        one = nn.Parameter(torch.randn(self.embedding))
        for name, channels in layers.items():
            condition(shared, name, partial(Modulated, channels=channels, embedding=one))
        found = {name: twin(shared) for name in shapes}
        for backbone in list(found.values())[1:]:
            own = nn.Parameter(torch.randn(self.embedding))
            for module in backbone.modules():
                if isinstance(module, Modulated):
                    module.embedding = own
        return found
