"""From the arrays of a source to tensors on a device: whole episodes in one move, bytes until they are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metamtl.data.source import Arrays, EpisodeArrays
from metamtl.data.task import Examples, TaskBatch, Tensors


class Preparation:
    """Arrays of one source to floating-point inputs: bytes to [0, 1], then the recorded mean and deviation."""

    def __init__(self, preprocessing: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.mean = self._per_channel(preprocessing.get("mean"))
        self.std = self._per_channel(preprocessing.get("std"))

    def every_input(self, arrays: Arrays) -> Tensors:
        """`inputs` of an array, or of every named one."""
        if isinstance(arrays, dict):
            return {name: self.inputs(array) for name, array in arrays.items()}
        return self.inputs(arrays)

    def inputs(self, array: NDArray[Any]) -> Tensor:
        """x [..., C, H, W] as bytes, or floats of any shape, as the network takes them; tokens stay integers."""
        if array.dtype.kind in "ib":
            return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        if array.dtype != np.uint8:
            return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, self.dtype)
        x = self._scaled(array)
        if self.mean is not None and self.std is not None:
            x.sub_(self.mean).div_(self.std)
        return x

    def targets(self, array: NDArray[Any]) -> Tensor:
        """y as int64 classes, or as floats for regression."""
        y = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        return y.to(self.dtype) if y.is_floating_point() else y.to(torch.int64)

    def batch(self, arrays: EpisodeArrays) -> TaskBatch:
        """The episodes as a TaskBatch."""
        return TaskBatch(
            support=Examples(self.inputs(arrays.support_x), self.targets(arrays.support_y), arrays.ways),
            query=Examples(self.inputs(arrays.query_x), self.targets(arrays.query_y), arrays.ways),
            number=torch.from_numpy(arrays.episodes).to(self.device),
        )

    def _scaled(self, array: NDArray[Any]) -> Tensor:
        """Bytes [...] as new floats in [0, 1]; numpy divides block by block, without a pass over floats undivided."""
        if self.device.type == "cpu":
            floats = np.float64 if self.dtype is torch.float64 else np.float32
            return torch.from_numpy(np.divide(array, floats(255), dtype=floats, order="C")).to(self.dtype)
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device).to(self.dtype).div_(255)

    def _per_channel(self, values: Any) -> Tensor | None:
        if values is None:
            return None
        return torch.as_tensor(values, device=self.device, dtype=self.dtype).view(-1, 1, 1)
