"""The test protocol: the same episodes for every run, in fixed blocks, so that figures do not depend on how many
processes computed them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metamtl.build import Parts
from metamtl.data.examples import ExampleSource
from metamtl.data.sampler import eval_key
from metamtl.data.source import IntArray, Split, TaskShape
from metamtl.data.task import TaskBatch
from metamtl.engine.world import World
from metamtl.evaluation.examples import figures_of_examples
from metamtl.evaluation.features import FeatureTable, worthwhile
from metamtl.evaluation.ratios import with_ratios
from metamtl.runs.result import Summary, summary

BLOCK = 100  # episodes; the unit that processes share out
EpisodeFigures = dict[str, NDArray[np.float64]]


def episodes_id(parts: Parts, split: Split, shape: TaskShape, episodes: int) -> str:
    """Names the very episodes: equal for two runs exactly when their figures may be compared pair by pair."""
    if isinstance(parts.source, ExampleSource):
        return hashlib.sha256(f"{parts.source.split_fingerprint(split)}:{split}".encode()).hexdigest()[:16]
    key = eval_key(parts.config["eval"]["seed"], parts.source, split, shape)
    return hashlib.sha256(f"{key}:{episodes}".encode()).hexdigest()[:16]


def evaluate_episodes(
    parts: Parts,
    world: World,
    split: Split,
    episodes: int,
    after_block: Callable[[int, int], None] = lambda done, of: None,
) -> EpisodeFigures:
    """`loss` and the family's metrics [episodes] of held-out episodes, on every process.

    Of ordinary labelled examples all of the split are tested, one by one, whatever `episodes` says. `after_block` hears
    how many of how many are done.
    """
    if isinstance(parts.source, ExampleSource):
        episodes = len(parts.source.items(split))
    with torch.no_grad(), parts.testing(), parts.autocast():
        return in_blocks(parts, world, episodes, _figures_of(parts, world, split, episodes), after_block)


def in_blocks(
    parts: Parts,
    world: World,
    count: int,
    figures: Callable[[IntArray], dict[str, Tensor]],
    after_block: Callable[[int, int], None] = lambda done, of: None,
) -> EpisodeFigures:
    """What `figures` gives for `count` episodes or examples, by their numbers, block by block, on every process."""
    mine: dict[int, dict[str, Tensor]] = {}
    starts = range(0, count, BLOCK)
    for block, start in enumerate(starts):
        if block % world.size == world.rank:
            mine[block] = figures(np.arange(start, min(start + BLOCK, count)))
        after_block(min(start + BLOCK, count), count)
    blocks = {block: found for part in world.gather(mine) for block, found in part.items()}
    found = {
        name: np.concatenate([blocks[block][name].double().numpy() for block in range(len(starts))])
        for name in blocks[0]
    }
    return with_ratios(found, parts.family.ratios) if isinstance(parts.source, ExampleSource) else found


def _figures_of(parts: Parts, world: World, split: Split, episodes: int) -> Callable[[IntArray], dict[str, Tensor]]:
    if isinstance(parts.source, ExampleSource):
        items = parts.source.items(split)
        return lambda numbers: figures_of_examples(parts, items[numbers])
    shape = parts.test_shape
    if worthwhile(parts, split, shape, episodes):
        table = FeatureTable(parts, split, world)
        key = eval_key(parts.config["eval"]["seed"], parts.source, split, shape)
        return lambda numbers: table.figures(split, shape, numbers, key)
    return lambda numbers: figures_of_episodes(parts, split, numbers)


def figures_of_episodes(
    parts: Parts, split: Split, numbers: IntArray, change: Callable[[TaskBatch], TaskBatch] = lambda batch: batch
) -> dict[str, Tensor]:
    """Loss and metrics [n] of the test's episodes `numbers`; `change` is made of their tasks."""
    key = eval_key(parts.config["eval"]["seed"], parts.source, split, parts.test_shape)
    arrays = parts.source.episodes(split, parts.test_shape, numbers, key)
    found = parts.engine.evaluate([change(parts.preparation.batch(group)) for group in arrays])
    place = torch.from_numpy(np.argsort(np.concatenate([group.episodes for group in arrays]), kind="stable"))
    return {name: values.cpu()[place] for name, values in found.items()}


def summaries(parts: Parts, figures: EpisodeFigures) -> dict[str, Summary]:
    """Each metric's mean and interval; of labelled examples, over those whose label is known."""
    if not parts.source.labelled:
        return {name: summary(values) for name, values in figures.items()}
    return {name: summary(values[~np.isnan(values)]) for name, values in figures.items()}
