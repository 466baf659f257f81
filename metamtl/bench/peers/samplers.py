"""Other ways to draw 5-way 1-shot episodes with 15 queries: plain indexing, learn2learn's sampler, torchmeta's loader.

All are given the same bytes, x [N, C, H, W] with labels [N], and make float tensors in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metamtl.data import torchmeta_shim
from metamtl.data.source import IntArray

WAYS, SHOTS, QUERIES = 5, 1, 15
Draw = Callable[[int], object]


def plain_indexing(x: Tensor, labels: IntArray, batch: int) -> Draw:
    """One tensor of bytes [classes, examples, ...], indexed episode by episode, which `torch.stack` joins.

    Classes keep as many examples as the smallest has.
    """
    each = int(np.bincount(labels).min())
    first = torch.from_numpy(np.searchsorted(labels, np.arange(labels.max() + 1)))
    table = x[first[:, None] + torch.arange(each)]

    def episode() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        classes = torch.randperm(len(table))[:WAYS]
        chosen = torch.stack([torch.randperm(each)[: SHOTS + QUERIES] for _ in range(WAYS)])
        images = table[classes[:, None], chosen].float() / 255
        support, query = images[:, :SHOTS].flatten(0, 1), images[:, SHOTS:].flatten(0, 1)
        ways = torch.arange(WAYS)
        return support, ways.repeat_interleave(SHOTS), query, ways.repeat_interleave(QUERIES)

    return lambda _: [torch.stack(part) for part in zip(*(episode() for _ in range(batch)), strict=True)]


class _Floats(torch.utils.data.Dataset[Any]):
    """Pairs of a picture in [0, 1] and its label."""

    def __init__(self, x: Tensor, labels: IntArray) -> None:
        self.x, self.labels = x, labels

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.x[index].float() / 255, int(self.labels[index])


def learn2learn_sampler(x: Tensor, labels: IntArray, batch: int) -> Draw:
    """`Taskset` with learn2learn's own transforms; a batch is stacked."""
    from metamtl.bench.peers.learn2learn import library

    data, transforms = library().data, library().data.transforms
    indices = [[int(i) for i in np.flatnonzero(labels == label)] for label in range(labels.max() + 1)]
    known = {"labels_to_indices": dict(enumerate(indices)), "indices_to_labels": dict(enumerate(labels.tolist()))}
    examples = data.MetaDataset(_Floats(x, labels), **known)
    steps = [
        transforms.NWays(examples, WAYS),
        transforms.KShots(examples, SHOTS + QUERIES),
        transforms.LoadData(examples),
        transforms.RemapLabels(examples),
        transforms.ConsecutiveLabels(examples),
    ]
    tasks = data.Taskset(examples, task_transforms=steps, num_tasks=-1)
    return lambda _: [torch.stack(part) for part in zip(*(tasks.sample() for _ in range(batch)), strict=True)]


def torchmeta_loader(x: Tensor, labels: IntArray, batch: int) -> Draw:
    """`BatchMetaDataLoader` over combinations of classes, split by `ClassSplitter`, in this process."""
    torchmeta_shim.install()
    data, transforms = (import_module(f"torchmeta.{name}") for name in ("utils.data", "transforms"))
    one_class: Any = import_module("torchmeta.utils.data.task").Dataset
    classes: Any = data.ClassDataset
    places = np.searchsorted(labels, np.arange(labels.max() + 2))

    class Class(one_class):  # type: ignore[misc]
        def __init__(self, index: int) -> None:
            super().__init__(index)
            self.label = index

        def __len__(self) -> int:
            return int(places[self.label + 1] - places[self.label])

        def __getitem__(self, index: int) -> tuple[Tensor, Any]:
            label = self.label if self.target_transform is None else self.target_transform(self.label)
            return x[places[self.label] + index].float() / 255, label

    class Classes(classes):  # type: ignore[misc]
        num_classes = len(places) - 1

        def __getitem__(self, index: int) -> Class:
            return Class(index)

    combinations = data.CombinationMetaDataset(
        Classes(meta_train=True),
        num_classes_per_task=WAYS,
        target_transform=transforms.Categorical(WAYS),
        dataset_transform=transforms.ClassSplitter(shuffle=True, num_train_per_class=SHOTS, num_test_per_class=QUERIES),
    )
    batches = iter(data.BatchMetaDataLoader(combinations, batch_size=batch, num_workers=0))
    return lambda _: next(batches)
