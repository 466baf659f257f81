"""Layers whose source weights are frozen and changed by a few learned numbers.

A frozen weight becomes a buffer: no optimiser and no inner loop sees it, and it is saved with the learner.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.utils import parametrize

from metamtl.errors import UsageError


def freeze(module: nn.Module, name: str) -> None:
    """Makes a parameter of a layer a buffer with the same values."""
    weight = module.get_parameter(name)
    delattr(module, name)
    module.register_buffer(name, weight.detach())


def change_weights(backbone: nn.Module, change: Callable[[nn.Module], nn.Module], strategy: str) -> list[nn.Module]:
    """Freezes the weight of every linear and convolutional layer under `change` of it; the layers.

    UsageError where the backbone has none.
    """
    layers: list[nn.Module] = [module for module in backbone.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers:
        raise UsageError(f"transfer={strategy} changes linear and convolutional layers; this backbone has none.")
    for layer in layers:
        added = change(layer)
        freeze(layer, "weight")
        parametrize.register_parametrization(layer, "weight", added)
    return layers
