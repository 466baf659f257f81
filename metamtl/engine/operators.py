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


class Operators(TorchFunctionMode):
    """While it is entered, convolutions, rectifiers and max-pooling are the engine's, in whatever module called.

    What an operator leaves to torch, for which it gives None, other devices and functions under transforms of
    torch.func that a learner takes itself, vectorised or not, stay as they are.
    """

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        """Calls the function, or what takes its place."""
        named = named or {}
        own = _OWN.get(function)
        # under other transforms torch's own: these have no derivatives forward
        if own is not None and _is_cpu(*arguments, **named) and not is_transformed():
            found = own(*arguments, **named)
            if found is not None:
                return found
        return function(*arguments, **named)


def _is_cpu(first: Any = None, *others: Any, input: Any = None, **named: Any) -> bool:
    tensor = input if first is None else first
    return isinstance(tensor, Tensor) and tensor.device.type == "cpu"
