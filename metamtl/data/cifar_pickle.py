"""The official CIFAR-100 files, which are pickles, read without the powers that make a pickle dangerous.

A pickle may call any function. This reader admits three names, those by which numpy of any version says "array of
bytes", and gives each a harmless stand-in of ours; every other name is refused before anything is imported or called.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.errors import MetamtlError


def loads(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary in a CIFAR pickle: lists, strings, numbers and uint8 arrays; `where` names the file in errors.

    Raises MetamtlError for a pickle that asks for anything else, is damaged, or holds no dictionary.
    """
    try:
        found = _Reader(io.BytesIO(data), encoding="latin1").load()  # written by Python 2
    except _RefusedError as error:
        raise MetamtlError(f"{where} is refused: {error}, which no CIFAR file does. Get it again.") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise MetamtlError(f"{where} is no CIFAR file or is damaged ({type(error).__name__}: {error}).") from error
    if not isinstance(found, dict):
        raise MetamtlError(f"{where} is no CIFAR file: it holds a {type(found).__name__}, not a dictionary.")
    return {str(key): value.pixels if isinstance(value, _Array) else value for key, value in found.items()}


class _RefusedError(Exception):
    pass


class _Dtype:
    """Stands for numpy.dtype: admits bytes alone."""

    def __init__(self, code: object, *options: object) -> None:
        if code != "u1":
            raise _RefusedError(f"it holds an array of {code!r}")

    def __setstate__(self, state: object) -> None:
        """The state of the type of bytes says nothing more."""


class _Array:
    """Stands for numpy.ndarray, and is filled from raw bytes by our own code."""

    pixels: NDArray[np.uint8]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Dtype):
            raise _RefusedError("it holds an array of unknown type")
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        pixels = np.frombuffer(data, dtype=np.uint8)
        self.pixels = pixels.reshape(shape, order="F" if fortran else "C")


def _empty_array(*_: object) -> _Array:
    return _Array()


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,  # numpy >= 2
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise _RefusedError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]
