import builtins
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.data.cifar_pickle import loads
from metamtl.errors import MetamtlError


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def as_python_2(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The array as numpy under Python 2 pickled it: its bytes as a string, its module by the old name."""
    rows, columns = array.shape
    raw = array.tobytes()
    return b"".join(
        [
            b"\x80\x02}U\x04data",
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR",
            b"(K\x01(K" + bytes([rows]) + b"K" + bytes([columns]) + b"t",
            b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89U" + bytes([len(raw)]) + raw + b"tbs.",
        ]
    )


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_bytes_are_read(protocol: int, order: Any) -> None:
    array = np.asarray(np.random.default_rng(0).integers(0, 256, (3, 5), dtype=np.uint8), order=order)
    got = loads(pickle.dumps({"data": array, "fine_labels": [1, 2], "x": "y"}, protocol=protocol), "x")
    assert (got["data"] == array).all()
    assert got["fine_labels"] == [1, 2] and got["x"] == "y"


def test_files_of_python_2_are_read() -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 5), dtype=np.uint8)
    data = as_python_2(array)
    assert (pickle.loads(data, encoding="latin1")["data"] == array).all()  # the made file is what numpy reads
    assert (loads(data, "x")["data"] == array).all()


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    hostile = [
        Calls(os.system, f"touch {canary}"),
        Calls(builtins.eval, f"open({str(canary)!r}, 'w')"),
        Calls(builtins.getattr, os, "system"),
        Calls(Path.touch, canary),
        Calls(np.load, str(canary)),
        Calls(np.fromfile, str(canary)),
        Calls(np.memmap, str(canary), "uint8", "w+", 0, (1,)),
    ]
    for one in hostile:
        for protocol in (2, 4):
            try:
                data = pickle.dumps({"data": [one]}, protocol=protocol)
            except (TypeError, pickle.PicklingError):  # a module cannot be an argument
                continue
            with pytest.raises(MetamtlError, match="is refused: it asks for"):
                loads(data, "x")
    assert not canary.exists()
    pickle.loads(pickle.dumps(hostile[0]))
    assert canary.exists()  # so the pickle was hostile indeed


def test_dotted_and_extended_names_are_refused() -> None:
    dotted = b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile \x93."
    with pytest.raises(MetamtlError, match="refused"):
        loads(dotted, "x")


@pytest.mark.parametrize("array", [np.array([object]), np.zeros(3), np.zeros(2, dtype=[("a", "u1")])])
def test_arrays_of_anything_else_are_refused(array: Any) -> None:
    with pytest.raises(MetamtlError, match="refused"):
        loads(pickle.dumps({"data": array}, protocol=4), "x")


@pytest.mark.parametrize("data", [b"", b"junk", pickle.dumps([1]), pickle.dumps({"a": "b" * 100})[:20]])
def test_what_is_no_cifar_file_is_named(data: bytes) -> None:
    with pytest.raises(MetamtlError, match="archive:train is no CIFAR file"):
        loads(data, "archive:train")
