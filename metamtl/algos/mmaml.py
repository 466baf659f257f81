"""MMAML: MAML whose initial weights are modulated by what a task encoder reads in the support set.

Vuorio, Sun, Hu & Lim (2019), Multimodal Model-Agnostic Meta-Learning via Task-Aware Modulation, NeurIPS, algorithm 1,
for tasks of several modes that no one initialisation is near to: v = h(support set), tau_i = g_i(v) for every layer i,
and FiLM scales and shifts the layer's channels by tau_i (section 4.2). The inner steps change the initial weights
theta under a tau that stays as it is; theta, h and g_i are learned together. The paper's h is a network of its own, a
bidirectional LSTM over points or convolutions over images. Here it reads the backbone's features at the unmodulated
weights, for regression beside the targets, and v is the tanh of their mean: the order of examples and the names of
classes mean nothing, and large targets make no modulation under which inner steps diverge. (The authors clip inner
gradients instead.) The g_i start at zero: a network begins as MAML's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metamtl.algos.descent import Adapted
from metamtl.algos.maml import MAML
from metamtl.backbones.conditioning import condition, conditionable, scaled_and_shifted
from metamtl.backbones.norm import NormKind
from metamtl.data.task import Examples
from metamtl.engine.inner import Weights
from metamtl.engine.network import Network
from metamtl.errors import UsageError
from metamtl.registry import register


class Modulated(nn.Module):
    """A layer's outputs x [N, C, ...] times 1 + `scale` [C] plus `shift` [C], which a pass is given for its task."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.Module, channels: int) -> None:
        super().__init__()
        self.norm = norm
        self.register_buffer("scale", torch.zeros(channels), persistent=False)
        self.register_buffer("shift", torch.zeros(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape; a scale and shift of zero change nothing."""
        return scaled_and_shifted(self.norm(x), 1 + self.scale, self.shift)


@register("algo", "mmaml")
class MMAML(MAML):
    """Gradient descent from weights under a modulation; v has `embedding` numbers, and h a layer of `hidden` more."""

    def __init__(self, *, embedding: int, hidden: int, **options: Any) -> None:
        super().__init__(**options)
        features: int = self.network.backbone.features  # type: ignore[assignment]
        read = features + self.family.targets
        self.encoder = nn.Sequential(nn.Linear(read, hidden), nn.ReLU(), nn.Linear(hidden, embedding))
        layers = {name: layer for name, layer in self.network.named_modules() if isinstance(layer, Modulated)}
        self.layer_names = list(layers)
        self.generators = nn.ModuleList(nn.Linear(embedding, 2 * len(layer.scale)) for layer in layers.values())
        for weight in self.generators.parameters():
            nn.init.zeros_(weight)

    def build_network(self, backbone: nn.Module, norm: NormKind) -> Network:
        """The backbone with every layer modulated, under the family's head."""
        layers = conditionable(backbone)
        if not layers:
            raise UsageError(
                "algo=mmaml scales and shifts a backbone's layers, and this backbone has none that it knows: take "
                "mlp, conv4, resnet12 or text with a layer at least."
            )
        for name, channels in layers.items():
            condition(backbone, name, partial(Modulated, channels=channels))
        return super().build_network(backbone, norm)

    @property
    def starts_from_itself(self) -> bool:
        """Always: the modulation is made by the weights that are adapted under it."""
        return True

    def adapt(self, support: Examples) -> Adapted:
        """Fast weights after the inner steps of this phase, and the modulation that they were taken under."""
        modulation = self.modulation(support)
        features = None
        if self.head_init == "prototype":
            features = self.network.support(support.x, modulation, head=False)
        loss, start = self.support_loss(support), self.initial_weights(support, features)
        weights = {**self.descend(start, lambda fast: loss({**fast, **modulation})), **modulation}
        return Adapted(weights, self.network.support_statistics(support.x, weights))

    def embed(self, support: Examples) -> Tensor:
        """The task's embedding v [embedding], from the mean over examples, or words."""
        read = self.network.support(support.x, head=False)
        if self.family.targets:
            read = torch.cat([read, support.labels], 1)
        embedded: Tensor = self.encoder(read)
        return torch.tanh(embedded.flatten(0, -2).mean(0))

    def modulation(self, support: Examples) -> Weights:
        """The tau_i by the names that the network has for them: a scale [C] and a shift [C] of each layer."""
        embedding, found = self.embed(support), {}
        for name, generator in zip(self.layer_names, self.generators, strict=True):
            found[f"{name}.scale"], found[f"{name}.shift"] = generator(embedding).chunk(2)
        return found
