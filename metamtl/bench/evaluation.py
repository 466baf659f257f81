"""A ProtoNet test of 10,000 episodes on cached features, beside the same episode by episode."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from metamtl.build import build_parts
from metamtl.config.compose import compose
from metamtl.data.classes import ClassSource
from metamtl.data.opening import open_source
from metamtl.data.sampler import eval_key
from metamtl.data.source import IntArray, TaskShape
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.evaluation.features import FeatureTable
from metamtl.evaluation.protocol import BLOCK

EPISODES = 10_000


class Row(TypedDict):
    """Median seconds for so many episodes, features computed beforehand."""

    who: str
    data: str
    episodes: int
    seconds: float


def run(overrides: Sequence[str], peers: bool, repeat: int, say: Callable[[str], None]) -> list[Row]:
    """Rows of metamtl and of a plain loop, on the test split of `data=` (glyphs unless an override says otherwise)."""
    config = compose(["algo=protonet", "backbone=conv4", "backbone.norm=running", "trainer.device=cpu", *overrides])
    source = open_source(config)
    if not isinstance(source, ClassSource):
        raise UsageError(f"Features are cached for data with classes, which {source.name} has not.")
    parts = build_parts(config, source)
    key = eval_key(config["eval"]["seed"], source, "test", parts.test_shape)
    with torch.no_grad(), parts.testing():
        started = time.perf_counter()
        table = FeatureTable(parts, "test", World(0, 1))
        say(f"features of {len(table.items)} examples of {source.name}: {time.perf_counter() - started:.2f} s")

        def cached(numbers: IntArray) -> Tensor:
            return table.figures("test", parts.test_shape, numbers, key)["accuracy"]

        def plain(numbers: IntArray) -> Tensor:
            return _one_by_one(table, parts.test_shape, numbers, key)

        contenders = {"metamtl": cached, **({"plain loop": plain} if peers else {})}
        times: dict[str, list[float]] = {who: [] for who in contenders}
        for _ in range(repeat):
            for who, test in contenders.items():
                times[who].append(_timed(test))
    rows = [
        Row(who=who, data=source.name, episodes=EPISODES, seconds=statistics.median(found))
        for who, found in times.items()
    ]
    for row in rows:
        say(f"{row['who']:<16}{row['episodes']} episodes in {row['seconds']:.2f} s")
    return rows


def _timed(test: Callable[[IntArray], Tensor]) -> float:
    started = time.perf_counter()
    for start in range(0, EPISODES, BLOCK):
        test(np.arange(start, start + BLOCK))
    return time.perf_counter() - started


def _one_by_one(table: FeatureTable, shape: TaskShape, numbers: IntArray, key: int) -> Tensor:
    """The accuracy of the nearest prototype, one episode after another."""
    found = []
    for number in numbers:
        (index,) = table.source.index("test", shape, number[None], key)
        support, query = (table.rows(items[0]) for items in (index.support, index.query))
        prototypes = support.view(index.ways, -1, support.shape[1]).mean(1)
        nearest = torch.cdist(query, prototypes).argmin(1)
        found.append((nearest == torch.from_numpy(index.query_y[0])).float().mean())
    return torch.stack(found)
