"""What an update is computed from: the stream that a stage of the learner asks for, as a function of the step."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from metamtl.algos.base import Stage
from metamtl.build import Parts
from metamtl.data.classes import ClassSource
from metamtl.data.sampler import train_key
from metamtl.data.task import Examples, Minibatch
from metamtl.engine.tasks import Update
from metamtl.engine.world import World
from metamtl.errors import UsageError


class Stream(ABC):
    """Summed gradients of a stage's updates; each process computes its share of every update."""

    @abstractmethod
    def update(self, step: int) -> Update:
        """This process's share of update `step`."""


class EpisodeStream(Stream):
    """Update `step` holds the training episodes step * meta_batch to (step + 1) * meta_batch - 1."""

    def __init__(self, parts: Parts, stage: Stage, world: World) -> None:
        self.parts, self.world = parts, world
        self.meta_batch: int = parts.config["trainer"]["meta_batch"]
        self.key = train_key(parts.config["seed"], stage.name)

    def update(self, step: int) -> Update:
        """The meta-gradient of this process's episodes."""
        first = step * self.meta_batch
        numbers = np.arange(first + self.world.rank, first + self.meta_batch, self.world.size)
        arrays = self.parts.source.episodes("train", self.parts.train_shape, numbers, self.key)
        return self.parts.engine.meta_gradient([self.parts.preparation.batch(group) for group in arrays])


class MinibatchStream(Stream):
    """Update `step` is a supervised minibatch over all meta-train classes.

    With several processes each takes its share of the minibatch, and batch statistics are those of the share.
    """

    def __init__(self, parts: Parts, stage: Stage, world: World) -> None:
        if not isinstance(parts.source, ClassSource):
            raise UsageError(
                f"The stage '{stage.name}' trains on labelled examples; {parts.source.name} has no classes."
            )
        self.parts, self.world, self.source = parts, world, parts.source
        self.size: int = parts.config["trainer"]["batch_size"]
        self.key = train_key(parts.config["seed"], stage.name)

    def update(self, step: int) -> Update:
        """The gradient of this process's examples."""
        items, labels = self.source.minibatch("train", self.size, step, self.key)
        share = slice(self.world.rank, None, self.world.size)
        prepare = self.parts.preparation
        x, y = prepare.inputs(self.source.gather(items[share])), prepare.targets(labels[share])
        return self.parts.engine.minibatch_gradient(Minibatch(Examples(x, y, self.parts.family.classes)), step)


def stream_of(parts: Parts, stage: Stage, world: World) -> Stream:
    """The stream of a stage."""
    return (EpisodeStream if stage.stream == "episodes" else MinibatchStream)(parts, stage, world)
