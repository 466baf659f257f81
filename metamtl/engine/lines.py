"""Objects with tensors over a socket between two processes of one program, a tensor's bytes as they lie in memory.

Torch's own way between processes gives every tensor a file descriptor and a place in /dev/shm, which containers keep
small. What an update sends is small beside its arithmetic, and is copied.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
from typing import Any

import torch
from torch import Tensor, nn

_SIZE = struct.Struct("<Q")


class Line:
    """One end of a connection; EOFError where the other end is gone."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def send(self, message: bytes) -> None:
        """Sends a message."""
        try:
            self.end.sendall(_SIZE.pack(len(message)))
            self.end.sendall(message)
        except OSError as error:
            raise EOFError from error

    def receive(self) -> bytearray:
        """The next message."""
        (size,) = _SIZE.unpack(self._bytes(_SIZE.size))
        return self._bytes(size)

    def _bytes(self, size: int) -> bytearray:
        found = bytearray(size)
        view, at = memoryview(found), 0
        while at < size:
            try:
                more = self.end.recv_into(view[at:])
            except OSError as error:
                raise EOFError from error
            if not more:
                raise EOFError
            at += more
        return found


def packed(value: object) -> bytes:
    """The value as bytes; what cannot be pickled raises as pickle does."""
    out = io.BytesIO()
    _Pickler(out, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return out.getvalue()


def unpacked(message: bytes | bytearray) -> Any:
    """The value again. It comes from a process that this one has started, or that has started this one."""
    return pickle.loads(message)


class _Pickler(pickle.Pickler):
    """One that takes tensors of the processor by their bytes; an object met twice is one object again."""

    def reducer_override(self, value: Any) -> Any:
        """What makes a tensor again; others are left to pickle."""
        if type(value) not in (Tensor, nn.Parameter) or value.device.type != "cpu":
            return NotImplemented
        data = value.detach()
        order = list(range(data.dim()))
        if 0 not in data.stride():
            order.sort(key=data.stride, reverse=True)  # so that layouts stay what they are
        dense = data.permute(order).contiguous()
        raw = pickle.PickleBuffer(dense.reshape(-1).view(torch.uint8).numpy())
        trained = value.requires_grad and value.is_leaf
        return _tensor, (raw, data.dtype, tuple(dense.shape), tuple(order), type(value), trained)


def _tensor(
    raw: bytearray, dtype: torch.dtype, shape: tuple[int, ...], order: tuple[int, ...], kind: type, trained: bool
) -> Tensor:
    data = torch.frombuffer(raw, dtype=dtype).view(shape) if len(raw) else torch.empty(shape, dtype=dtype)
    data = data.permute([order.index(axis) for axis in range(len(order))])
    return nn.Parameter(data, trained) if kind is nn.Parameter else data.requires_grad_(trained)
