"""Small files in the formats of MNIST, optdigits and Semeion, with pictures that tell where they come from."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist(folder: Path, part: str, count: int, seed: int = 0, side: int = 28) -> NDArray[np.uint8]:
    """Pictures [count, side, side] of noise with the classes 0 to 9 in turn, written zipped; the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    x = np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)
    y = (np.arange(count) % 10).astype(np.uint8)
    for what, array in (("images-idx3", x), ("labels-idx1", y)):
        (folder / f"{part}-{what}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    return x


def optdigits(folder: Path, part: str, count: int, seed: int = 0) -> None:
    """Lines of 64 counts and a digit."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = np.random.default_rng(seed).integers(0, 17, (count, 64))
    rows = np.concatenate([counts, np.arange(count)[:, None] % 10], 1)
    (folder / f"optdigits.{part}").write_text("\n".join(",".join(map(str, row)) for row in rows), encoding="ascii")


def semeion(folder: Path, count: int, official: bool) -> None:
    """256 bits and a digit; officially as decimals and ten columns."""
    folder.mkdir(parents=True, exist_ok=True)
    bits = np.random.default_rng(0).integers(0, 2, (count, 256))
    if official:
        lines = [
            " ".join([*(f"{bit}.0000" for bit in row), *("1" if n % 10 == d else "0" for d in range(10))]) + " "
            for n, row in enumerate(bits)
        ]
    else:
        lines = [f"{''.join(map(str, row))} {n % 10}" for n, row in enumerate(bits)]
    (folder / ("semeion.data" if official else "semeion.txt")).write_text("\n".join(lines) + "\n", encoding="ascii")
