"""IDX files, in which MNIST and Fashion-MNIST are published, plain or gzipped.

LeCun, Cortes & Burges, The MNIST database of handwritten digits: two zero bytes, the type (8: unsigned bytes), the
number of axes, the length of each axis as a big-endian 32-bit integer, then the bytes, the last axis fastest.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from metamtl.errors import MetamtlError

MAX_BYTES = 2**30  # a file is held in memory; MNIST's largest has 47 MB
_UNSIGNED_BYTES = 8


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """The bytes in the file, an array of that many axes; MetamtlError where it is something else or is damaged."""
    try:
        with _opened(path) as stream:
            zero, kind, found = struct.unpack(">HBB", stream.read(4))
            if zero or kind != _UNSIGNED_BYTES or found != axes:
                raise ValueError(f"it does not begin as one of unsigned bytes on {axes} axes")
            shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
            if (size := math.prod(shape)) > MAX_BYTES:
                raise ValueError(f"it declares {size:,} bytes")
            content = stream.read(size + 1)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise MetamtlError(f"{path} is no IDX file or is damaged ({error}); get it again.") from error
    if len(content) != size:
        more = "more" if len(content) > size else "fewer"
        raise MetamtlError(f"{path} is damaged: it holds {more} than the {size:,} bytes it declares; get it again.")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if zipped else path.open("rb")
