"""Whether tasks are being run under `torch.func.vmap`, where some native operators cannot be differentiated twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_VECTORISED: ContextVar[bool] = ContextVar("metamtl_vectorised", default=False)


@contextmanager
def vectorised() -> Iterator[None]:
    """While the engine runs a chunk of tasks under `vmap`."""
    token = _VECTORISED.set(True)
    try:
        yield
    finally:
        _VECTORISED.reset(token)


def is_vectorised() -> bool:
    """Whether the code is being run under the engine's `vmap`."""
    return _VECTORISED.get()
