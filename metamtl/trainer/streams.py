"""What an update is computed from: the stream that a stage of the learner asks for, as a function of the step."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from metamtl.algos.base import Stage
from metamtl.build import Parts
from metamtl.config.stages import stage_options
from metamtl.data.classes import ClassSource
from metamtl.data.distortion import distort
from metamtl.data.opening import task_shape
from metamtl.data.random import bits
from metamtl.data.sampler import train_key
from metamtl.data.source import MinibatchSource
from metamtl.data.task import Examples, Minibatch, TaskBatch
from metamtl.engine.update import Update
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.families import Families


class Stream(ABC):
    """Summed gradients of a stage's updates; each process computes its share of every update.

    `count` is the number of tasks, or examples, of an update over all processes; `waited` are the seconds that updates
    have waited for their data.
    """

    count: int
    waited: float

    @abstractmethod
    def update(self, step: int) -> Update:
        """This process's share of update `step`."""


class FamilyStream(Stream):
    """The stream of one family."""

    def __init__(self, parts: Parts, stage: Stage, world: World) -> None:
        self.parts, self.world = parts, world
        self.options = stage_options(parts.config["trainer"], stage.name)
        self.key = train_key(parts.config["seed"], stage.name)
        self.waited = 0.0

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.waited += time.perf_counter() - started


class EpisodeStream(FamilyStream):
    """Update `step` holds the training episodes step * meta_batch to (step + 1) * meta_batch - 1."""

    def __init__(self, parts: Parts, stage: Stage, world: World) -> None:
        super().__init__(parts, stage, world)
        self.count: int = self.options["meta_batch"]
        self.shape = task_shape(self.options["task"])

    def update(self, step: int) -> Update:
        """The meta-gradient of this process's episodes."""
        return self.update_of(self.batches(step))

    def batches(self, step: int) -> list[TaskBatch]:
        """This process's episodes, or one that does not count where it has none, grouped by equal shape."""
        first = step * self.count
        mine = np.arange(first + self.world.rank, first + self.count, self.world.size)
        with self._waiting():
            arrays = self.parts.source.episodes("train", self.shape, mine if len(mine) else np.array([first]), self.key)
            return [self.parts.preparation.batch(group) for group in arrays]

    def update_of(self, batches: Sequence[TaskBatch]) -> Update:
        """The meta-gradient of such episodes."""
        update = self.parts.engine.meta_gradient(batches)
        return update if self.world.rank < self.count else _emptied(update)


class MinibatchStream(FamilyStream):
    """Update `step` is a supervised minibatch over all meta-train classes.

    With several processes each takes its share of the minibatch, and batch statistics are those of the share.
    """

    def __init__(self, parts: Parts, stage: Stage, world: World) -> None:
        if not isinstance(parts.source, MinibatchSource):
            raise UsageError(
                f"The stage '{stage.name}' trains on labelled examples; {parts.source.name} has no classes."
            )
        super().__init__(parts, stage, world)
        self.source = parts.source
        self.count: int = self.options["batch_size"]

    def update(self, step: int) -> Update:
        """The gradient of this process's examples."""
        mine = self.world.rank < self.count
        share = slice(self.world.rank if mine else 0, None, self.world.size)
        with self._waiting():
            examples = self._examples(step, share)
        noise = step * self.world.size + self.world.rank  # each share drops its own activations
        update = self.parts.engine.minibatch_gradient(Minibatch(examples), noise)
        return update if mine else _emptied(update)

    def _examples(self, step: int, share: slice) -> Examples:
        items, labels = self.source.minibatch("train", self.count, step, self.key)
        prepare = self.parts.preparation
        x, y = prepare.every_input(self.source.gather(items[share])), prepare.targets(labels[share])
        return Examples(x, y, self.parts.family.classes or None)


class PairStream(MinibatchStream):
    """Update `step` is a batch of pairs of examples, half of them of one class."""

    def __init__(self, parts: Parts, stage: Stage, world: World) -> None:
        super().__init__(parts, stage, world)
        if not isinstance(parts.source, ClassSource):
            raise UsageError(f"The stage '{stage.name}' trains on pairs; {parts.source.name} has no classes to split.")
        if stage.distorted and len(parts.source.input_shape) != 3:
            raise UsageError(
                f"The examples of {parts.source.name} are no images to distort: set algo.distortion=false."
            )
        self.classes, self.distorted = parts.source, stage.distorted

    def _examples(self, step: int, share: slice) -> Examples:
        *items, same = self.classes.pairs("train", self.count, step, self.key)
        prepare, x = self.parts.preparation, {}
        for twin, name in enumerate(("first", "second")):
            images = self.classes.gather(items[twin][share])
            keys = bits(self.key, step, np.arange(self.count), twin)[share]
            x[name] = prepare.inputs(distort(images, keys) if self.distorted else images)
        return Examples(x, prepare.targets(same[share]), ways=2)


def _emptied(update: Update) -> Update:
    """Zeros in the shape of an update: what a process adds that has no task, as it must take part in the sum."""
    return replace(
        update,
        gradient={name: torch.zeros_like(g) for name, g in update.gradient.items()},
        figures={name: values[:0] for name, values in update.figures.items()},
        statistics=[(torch.zeros_like(mean), torch.zeros_like(var)) for mean, var in update.statistics],
        tasks=0,
    )


class FamiliesStream(Stream):
    """The streams of several families, each with its own number of tasks.

    Gradients and figures bear the family's name in front and are scaled so that, summed over processes and divided by
    the number of all tasks, each is the mean over its family's. Task i of a family that learns together with others
    comes beside task i of each of those that are in the update.
    """

    def __init__(self, families: Families, world: World) -> None:
        self.families = families
        self.streams = {
            name: _stream_of_one(parts, parts.learner.stages[0], world) for name, parts in families.each.items()
        }
        self.joined = {
            name: stream
            for name, stream in self.streams.items()
            if isinstance(stream, EpisodeStream) and families.each[name].learner.stages[0].together
        }
        self.waited = 0.0

    def update(self, step: int) -> Update:
        """This process's share of the update of every family that is drawn at `step`."""
        return self.update_of(self.families.drawn(step), step)

    def update_of(self, names: Sequence[str], step: int) -> Update:
        """The same of the families `names`."""
        total = Update({}, {}, [], 0)
        losses = []
        self.count = sum(self.streams[name].count for name in names)
        batches = {name: stream.batches(step) for name, stream in self.joined.items() if name in names}
        for name in names:
            stream = self.streams[name]
            update = self._joint_update(name, batches) if name in batches else stream.update(step)
            scale = self.count / stream.count
            total.gradient |= {f"{name}.{weight}": g * scale for weight, g in update.gradient.items()}
            total.figures |= {f"{name}/{figure}": values * scale for figure, values in update.figures.items()}
            total.statistics += [(mean * scale, var * scale) for mean, var in update.statistics]
            total.tasks += update.tasks
            losses.append(total.figures[f"{name}/loss"])
        total.figures["loss"] = torch.cat(losses) / len(losses)
        self.waited = sum(stream.waited for stream in self.streams.values())
        return total

    def _joint_update(self, name: str, batches: Mapping[str, Sequence[TaskBatch]]) -> Update:
        """Of a family's episodes beside those of the others; all are of one shape."""
        (own,) = batches[name]
        beside = {other: batch.support for other, (batch,) in batches.items() if other != name}
        update = self.joined[name].update_of([replace(own, beside=beside)])
        # weights of families that are not in the update have a slope of zero, by which they would still move
        absent = tuple(f"together.{other}." for other in self.joined if other not in batches)
        update.gradient = {weight: g for weight, g in update.gradient.items() if not weight.startswith(absent)}
        return update


def stream_of(families: Families, stage: Stage, world: World) -> Stream:
    """The stream of a stage."""
    if families.weighting is None:
        return _stream_of_one(families.first, stage, world)
    return FamiliesStream(families, world)


def _stream_of_one(parts: Parts, stage: Stage, world: World) -> Stream:
    streams: dict[str, Callable[[Parts, Stage, World], Stream]] = {
        "episodes": EpisodeStream,
        "minibatches": MinibatchStream,
        "pairs": PairStream,
    }
    return streams[stage.stream](parts, stage, world)
