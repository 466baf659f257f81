"""Testing on cached features: a split is embedded once, then any number of episodes is an index into it.

Only for learners whose features of an example depend on nothing but the example and the shared weights.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.build import Parts
from metamtl.data.classes import ClassSource
from metamtl.data.source import IntArray, Split, TaskShape
from metamtl.data.task import Examples
from metamtl.engine.world import World

PIXELS = 28 * 28  # of the images that EMBED_AT_ONCE counts
EMBED_AT_ONCE = 500  # images; fixed, so that features do not depend on the number of processes or episodes


def worthwhile(parts: Parts, split: Split, shape: TaskShape, episodes: int) -> bool:
    """Whether features can be cached, and embedding the split costs less than embedding the episodes."""
    if not isinstance(parts.learner, EmbeddingLearner) or not isinstance(parts.source, ClassSource):
        return False
    if parts.learner.network.depends_on_batch:
        return False
    examples = TaskShape.largest(shape.ways) * (TaskShape.largest(shape.shots) + shape.queries)
    return len(parts.source.items(split)) <= episodes * examples


class FeatureTable:
    """The features of every item of a split, and episodes tested on them."""

    def __init__(self, parts: Parts, split: Split, world: World) -> None:
        assert isinstance(parts.learner, EmbeddingLearner) and isinstance(parts.source, ClassSource)
        self.learner, self.family, self.source = parts.learner, parts.family, parts.source
        self.preparation = parts.preparation
        self.items = np.sort(parts.source.items(split))
        self.features = self._embed(world)

    def figures(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> dict[str, Tensor]:
        """Loss and metrics [T] of episodes, in the order of their numbers."""
        found: list[dict[str, Tensor]] = []
        order: list[IntArray] = []
        for index in self.source.index(split, shape, numbers, key):
            support, query = (self.rows(items) for items in (index.support, index.query))
            labels = (self.preparation.targets(y) for y in (index.support_y, index.query_y))
            found.append(vmap(self._one(index.ways))(support, query, *labels))
            order.append(index.episodes)
        place = torch.from_numpy(np.argsort(np.concatenate(order), kind="stable"))
        return {name: torch.cat([one[name] for one in found]).cpu()[place] for name in found[0]}

    def _one(self, ways: int) -> Any:
        def test(support: Tensor, query: Tensor, support_y: Tensor, query_y: Tensor) -> dict[str, Tensor]:
            outputs = self.learner.scored(self.learner.fitted(support, support_y, ways), query)
            examples = Examples(query, query_y, ways)
            return {"loss": self.learner.query_loss(outputs, examples), **self.family.metrics(outputs, examples)}

        return test

    def rows(self, items: IntArray) -> Tensor:
        """The features [..., D] of items of any leading shape."""
        return self.features[torch.from_numpy(np.searchsorted(self.items, items)).to(self.features.device)]

    def _embed(self, world: World) -> Tensor:
        pixels = math.prod(self.source.input_shape)
        at_once = max(1, EMBED_AT_ONCE * PIXELS // max(PIXELS, pixels))
        starts = range(0, len(self.items), at_once)
        blocks = {
            number: self._block(self.items[start : start + at_once])
            for number, start in enumerate(starts)
            if number % world.size == world.rank
        }
        for others in world.gather({number: block.cpu() for number, block in blocks.items()} if world.size > 1 else {}):
            blocks.update({number: block.to(self.preparation.device) for number, block in others.items()})
        return torch.cat([blocks[number] for number in range(len(starts))])

    def _block(self, items: IntArray) -> Tensor:
        return self.learner.network.query(self.preparation.inputs(self.source.gather(items)), head=False)
