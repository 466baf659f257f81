"""Sets larger than memory are read where they lie; turned copies and one-pass scaling change no byte and no bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from metamtl.data import classes
from metamtl.data.batch import Preparation
from metamtl.data.source import TaskShape
from tests.data.made import made

# a set of 4 GB in a process that may have 300 MB more than it has: the file is sparse and holds zeros, but two images
BEYOND_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from metamtl.data.classes import ClassSource
from metamtl.data.source import TaskShape
from metamtl.data.store import Packed

folder, each, count = Path(sys.argv[1]), 2_000, 40
shape = (each * count, 1, 224, 224)
with (folder / "x.bin").open("wb") as file:
    file.truncate(int(np.prod(shape, dtype=np.int64)))
x = np.memmap(folder / "x.bin", dtype=np.uint8, mode="r", shape=shape)
assert x.nbytes > 4e9
names = [f"class{c}" for c in range(count)]
packed = Packed(
    folder, x, np.arange(count + 1) * each, tuple(names), ("",) * count, tuple(names), "0" * 64, {}
)
limit = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize() + 300_000_000
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
source = ClassSource(
    name="large", packed=packed, splits={"train": names}, rotations=["train"], preprocessing={}, facts={}
)
for step in range(3):
    (episodes,) = source.episodes("train", TaskShape(5, 1, 15), np.arange(4 * step, 4 * step + 4), 1)
    items, labels = source.minibatch("train", 64, step, 1)
    source.gather(items)
print(episodes.query_x.shape)
if len(sys.argv) > 2:
    np.array(x)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.slow
def test_a_set_larger_than_memory_is_drawn_from(tmp_path: Path) -> None:
    words = [sys.executable, "-c", BEYOND_MEMORY, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(4, 75, 1, 224, 224)"
    # and the limit is one that a copy of the set would meet
    copied = subprocess.run([*words, "copy"], capture_output=True, text=True, check=False)
    assert copied.returncode == 1 and "MemoryError" in copied.stderr


def test_turned_copies_are_what_turning_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = made(tmp_path, rotations=["train"])
    monkeypatch.setattr(classes, "TURNED_BYTES", 0)
    read = made(tmp_path, rotations=["train"])
    items = kept.items("train")
    assert (items % 4).any()
    assert np.array_equal(kept.gather(items), read.gather(items))
    assert np.array_equal(kept.gather(kept.items("val")), read.gather(read.items("val")))
    assert kept._turned is not None and read._turned is None
    (one,), (other,) = (source.episodes("train", TaskShape(5, 1, 5), np.arange(7), 3) for source in (kept, read))
    assert np.array_equal(one.query_x, other.query_x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bytes_are_scaled_to_the_bit(dtype: torch.dtype) -> None:
    array = np.arange(2 * 3 * 16 * 8, dtype=np.int64).reshape(2, 3, 16, 8).astype(np.uint8)
    plain = Preparation({}, torch.device("cpu"), dtype)
    wanted = torch.from_numpy(array).to(dtype) / 255
    assert torch.equal(plain.inputs(array), wanted)
    turned = np.rot90(array, axes=(-2, -1))
    assert torch.equal(plain.inputs(turned), torch.rot90(wanted, 1, (-2, -1)))
    assert plain.inputs(turned).is_contiguous()
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    normal = Preparation({"mean": mean, "std": std}, torch.device("cpu"), dtype)
    per_channel = (torch.tensor(values, dtype=dtype).view(3, 1, 1) for values in (mean, std))
    centre, scale = per_channel
    assert torch.equal(normal.inputs(array), (wanted - centre) / scale)
    assert array.dtype == np.uint8
