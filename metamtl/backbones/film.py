"""FiLM by a task's embedding: layers whose channels are scaled and shifted by what a support set is like.

Perez et al. (2018), FiLM: Visual Reasoning with a General Conditioning Layer, AAAI, equation 2, here h (1 + s g(z)) + s
b(z) with g and b linear in z. The embedding z is a mean over the support set of the backbone's own features before they
are modulated, as in Oreshkin, Rodriguez & Lacoste (2018), TADAM, NeurIPS, section 2.4, each through a layer of its own
first and, where labels are numbers, together with its label: the order of examples and the names of classes mean
nothing. g and b are zero at first (the authors' post-multipliers), so that a network begins as it is without them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metamtl.backbones.conditioning import scaled_and_shifted
from metamtl.data.task import Examples

Pair = tuple[Tensor, Tensor]  # a scale less 1 [C] and a shift [C]


class FiLM(nn.Module):
    """What stands behind a layer, as a hook: it scales and shifts the layer's output by the pair that is `given`."""

    def __init__(self, channels: int, embedding: int, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.g, self.b = nn.Linear(embedding, channels), nn.Linear(embedding, channels)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        self.given: Pair | None = None

    def pair(self, z: Tensor) -> Pair:
        """S g(z) and s b(z) of an embedding z [K]."""
        return self.strength * self.g(z), self.strength * self.b(z)

    def forward(self, layer: nn.Module, inputs: tuple[Tensor, ...], h: Tensor) -> Tensor:
        """The layer's output [N, C], [N, C, H, W] or, of words, [N, L, C], modulated; as it is where none is given."""
        if self.given is None:
            return h
        scale, shift = (values.to(h) for values in self.given)
        return scaled_and_shifted(h, 1 + scale, shift)


class TaskEncoder(nn.Module):
    """The embedding of a support set, and what it modulates.

    `places` are modules of the backbone and the channels that each puts out; `targets` is the length of labels that are
    numbers, 0 for classes. `kept` are blank examples in the shape of those that are kept where a network has but one
    task (None where every support set is its own); they are saved with the learner.
    """

    def __init__(
        self,
        places: Sequence[tuple[nn.Module, int]],
        *,
        features: int,
        targets: int,
        embedding: int,
        strength: float,
        kept: Examples | None,
    ) -> None:
        super().__init__()
        self.encoder = nn.Linear(features + targets, embedding)
        self.layers = nn.ModuleList(FiLM(channels, embedding, strength) for _, channels in places)
        for (place, _), layer in zip(places, self.layers, strict=True):
            place.register_forward_hook(layer)
        self.targets, self.has_sample = targets, kept is not None
        if kept is not None:
            assert isinstance(kept.x, Tensor)
            self.register_buffer("x", kept.x)
            self.register_buffer("y", kept.labels)

    @property
    def sample(self) -> Examples | None:
        """The training examples that are kept, if any."""
        return Examples(self.get_buffer("x"), self.get_buffer("y")) if self.has_sample else None

    def keep(self, examples: Examples) -> None:
        """Takes the training examples that are kept, in turn where they are fewer; a missing number counts as zero."""
        assert isinstance(examples.x, Tensor)
        x, y = self.get_buffer("x"), self.get_buffer("y")
        places = torch.arange(len(x), device=x.device) % len(examples.x)
        x.copy_(examples.x[places])
        if self.targets:
            y.copy_(examples.labels[places].nan_to_num())

    def embed(self, features: Tensor, y: Tensor) -> Tensor:
        """Z [K] of a support set's features [S, D] and labels y [S, ...]."""
        read = [features, y.to(features)] if self.targets else [features]
        each: Tensor = self.encoder(torch.cat(read, 1)).relu()
        return each.mean(0)

    def pairs(self, z: Tensor) -> list[Pair]:
        """What modulates each layer."""
        return [layer.pair(z) for layer in self.films]

    def give(self, pairs: Sequence[Pair]) -> None:
        """Sets what modulates the layers in the pass that follows; nothing where `pairs` is empty."""
        for number, layer in enumerate(self.films):
            layer.given = pairs[number] if pairs else None

    @property
    def films(self) -> list[FiLM]:
        """The layers."""
        return [layer for layer in self.layers if isinstance(layer, FiLM)]
