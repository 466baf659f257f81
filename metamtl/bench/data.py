"""Episodes a second of every way to draw them, and the share of a MAML step that waits for its data."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
import torch

from metamtl.bench.measure import alternate
from metamtl.bench.peers.samplers import learn2learn_sampler, plain_indexing, torchmeta_loader
from metamtl.build import Parts, build_parts
from metamtl.config.compose import compose
from metamtl.data.classes import ClassSource
from metamtl.data.opening import open_source
from metamtl.data.sampler import train_key
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.trainer.streams import EpisodeStream

BATCH = 16  # episodes
ROUND = {"metamtl": 20, "plain indexing": 20, "learn2learn": 2, "torchmeta": 1}  # batches a round: slow ones take fewer
STEPS = 3  # of MAML, to see how long they wait


class Row(TypedDict):
    """Episodes a second, or the share of a step that waits; the other one is null."""

    who: str
    data: str
    what: str
    episodes_per_second: float | None
    share: float | None


def run(overrides: Sequence[str], peers: bool, repeat: int, say: Callable[[str], None]) -> list[Row]:
    """Rows of 5-way 1-shot tasks with 15 queries of the training split of `data=` (glyphs if no override names one)."""
    parts = _parts(overrides, f"trainer.meta_batch={BATCH}")
    steps = {name: step for name, step in _contenders(parts, peers).items() if step is not None}
    for step in steps.values():
        step(0)
    medians = alternate({name: _round(step, ROUND[name]) for name, step in steps.items()}, repeat)
    name, what = parts.source.name, "5-way 1-shot 15 query, batches of 16"
    rows = []
    for who, ms in medians.items():
        speed = 1e3 * BATCH * ROUND[who] / ms
        rows.append(Row(who=who, data=name, what=what, episodes_per_second=speed, share=None))
        say(f"{who:<16}{speed:>10.0f} episodes/s")
    share = data_wait(parts)
    rows.append(Row(who="metamtl", data=name, what="data wait of a MAML step", episodes_per_second=None, share=share))
    say(f"{'metamtl':<16}{100 * share:>10.2f} % of a MAML step waits for its data")
    return rows


def data_wait(parts: Parts) -> float:
    """The share of the time of a few updates in which they wait for their data."""
    stream = EpisodeStream(parts, parts.learner.stages[-1], World(0, 1))
    parts.learner.train()
    stream.update(0)  # compiles, calibrates and fills caches
    waited, started = stream.waited, time.perf_counter()
    for step in range(1, 1 + STEPS):
        stream.update(step)
    return (stream.waited - waited) / (time.perf_counter() - started)


def _parts(overrides: Sequence[str], *extra: str) -> Parts:
    task = ("task.ways=5", "task.shots=1", "task.queries=15", "trainer.task.ways=5", "trainer.task.shots=1")
    fixed = (*task, "trainer.task.queries=15", *extra)
    config = compose(["algo=maml", "trainer.device=cpu", *fixed, *overrides])
    source = open_source(config)
    if not isinstance(source, ClassSource):
        raise UsageError(f"Episodes are drawn from data with classes, which {source.name} has not.")
    return build_parts(config, source)


def _contenders(parts: Parts, peers: bool) -> dict[str, Callable[[int], object] | None]:
    source, key = parts.source, train_key(parts.config["seed"])
    assert isinstance(source, ClassSource)

    def ours(step: int) -> object:
        numbers = np.arange(step * BATCH, (step + 1) * BATCH)
        return [parts.preparation.batch(one) for one in source.episodes("train", parts.train_shape, numbers, key)]

    found: dict[str, Callable[[int], object] | None] = {"metamtl": ours}
    if peers:
        items = source.items("train")
        x = torch.from_numpy(np.ascontiguousarray(source.gather(items)))
        labels = source.labels(items)
        found["plain indexing"] = plain_indexing(x, labels, BATCH)
        found["learn2learn"] = learn2learn_sampler(x, labels, BATCH) if _there("learn2learn") else None
        found["torchmeta"] = torchmeta_loader(x, labels, BATCH) if _there("torchmeta") else None
    return found


def _there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _round(step: Callable[[int], object], batches: int) -> Callable[[], Any]:
    def several() -> None:
        for number in range(batches):
            step(number)

    return several
