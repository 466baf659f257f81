"""Operators of the engine's own, in the place of torch's wherever a task's network calls those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from metamtl.backbones.vectorised import is_transformed
from metamtl.engine.convolution import convolved
from metamtl.engine.pooling import pooled
from metamtl.engine.rectifier import leaky_rectified, rectified

_OWN: Mapping[Any, Callable[..., Tensor | None]] = {
    F.conv2d: convolved,
    F.relu: rectified,
    torch.relu: rectified,
    Tensor.relu: rectified,
    F.leaky_relu: leaky_rectified,
    F.max_pool2d: pooled,
    torch.max_pool2d: pooled,
}
_BY_DEVICE: Mapping[str, Mapping[Any, Callable[..., Tensor | None]]] = {
    "cpu": _OWN,
    "cuda": {F.conv2d: convolved},  # the others take as long as torch's there (measured)
}


class Operators(TorchFunctionMode):
    """While it is entered, convolutions, rectifiers and max-pooling are the engine's, in whatever module called.

    On a GPU convolutions are. What an operator leaves to torch, for which it gives None, other devices and functions
    under transforms of torch.func that a learner takes itself, vectorised or not, stay as they are.
    """

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        """Calls the function, or what takes its place."""
        named = named or {}
        # under other transforms torch's own: these have no derivatives forward
        own = _own(function, *arguments, **named) if function in _OWN and not is_transformed() else None
        if own is not None:
            found = own(*arguments, **named)
            if found is not None:
                return found
        return function(*arguments, **named)


def _own(
    function: Any, first: Any = None, *others: Any, input: Any = None, **named: Any
) -> Callable[..., Tensor | None] | None:
    """What takes the function's place on the device of its first argument."""
    tensor = input if first is None else first
    return _BY_DEVICE.get(tensor.device.type, {}).get(function) if isinstance(tensor, Tensor) else None
