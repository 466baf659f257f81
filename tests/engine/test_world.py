"""One exchange an update, between real processes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist

from metamtl.engine.world import World, join_world
from tests.trainer.processes import start_together

SHAPES = ((3, 4), (), (2, 1, 5), (7,))


def _mine(rank: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(rank)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def _sum(file: Path) -> int:
    calls: list[int] = []
    reduce: Any = dist.all_reduce

    def counted(tensor: torch.Tensor) -> None:
        calls.append(tensor.numel())
        reduce(tensor)

    with join_world() as world, mock.patch.object(dist, "all_reduce", counted):
        found = world.sum(_mine(world.rank))
        torch.save({"found": found, "calls": calls}, file.with_name(f"{file.name}{world.rank}"))
    return 0


def test_tensors_of_all_shapes_are_summed_in_one_buffer(tmp_path: Path) -> None:
    running = start_together(2, partial(_sum, tmp_path / "sum"), tmp_path)
    assert [one.end() for one in running] == [0, 0], "\n".join(one.err for one in running)
    for rank in range(2):
        saved = torch.load(tmp_path / f"sum{rank}", weights_only=True)
        assert saved["calls"] == [sum(torch.Size(shape).numel() for shape in SHAPES)]
        for tensor, one, other in zip(saved["found"], _mine(0), _mine(1), strict=True):
            assert tensor.shape == one.shape and torch.allclose(tensor, one + other, rtol=1e-15)


def test_a_world_of_one_exchanges_nothing() -> None:
    tensors = _mine(0)
    assert all(a is b for a, b in zip(World(0, 1).sum(tensors), tensors, strict=True))
