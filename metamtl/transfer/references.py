"""Tensors that a penalty compares a network's weights with, by the weights' names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class References(nn.Module):
    """Buffers shaped as the given weights, zero until they are set; saved with the learner where `kept`."""

    def __init__(self, like: Mapping[str, Tensor], kept: bool) -> None:
        super().__init__()
        self._keys = {name: name.replace(".", "/") for name in like}
        for name, weight in like.items():
            self.register_buffer(self._keys[name], weight.detach().new_zeros(weight.shape), persistent=kept)

    def values(self) -> dict[str, Tensor]:
        """The tensors by the weights' names."""
        return {name: self.get_buffer(key) for name, key in self._keys.items()}

    def put(self, values: Mapping[str, Tensor]) -> None:
        """Sets those that `values` has."""
        for name, tensor in self.values().items():
            if name in values:
                tensor.copy_(values[name])
