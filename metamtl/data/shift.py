"""Two domains of one question: labelled examples of a source, and unlabelled ones of the target that is tested.

Unsupervised domain adaptation as Ben-David et al. (2010), A theory of learning from different domains, Machine
Learning 79, have it. A missing label (-1) is what marks the target's examples in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.examples import ExampleSource
from metamtl.data.random import bits, in_epochs
from metamtl.data.source import IntArray, Split

SPLITS: tuple[Split, ...] = ("train", "val")


class ShiftedSource(ExampleSource):
    """Trains on both domains, half of every minibatch each, validates on the source, and is tested on the target.

    `held_out` are the target's own validation examples: without their labels an unsupervised criterion may look at
    them; their labels, `oracle`, are for comparison alone. `selected` says which of the source's items are known, where
    not all are.
    """

    def __init__(
        self,
        *,
        name: str,
        source: ExampleSource,
        target: ExampleSource,
        facts: dict[str, Any],
        selected: NDArray[np.bool_] | None = None,
    ) -> None:
        first = len(_every(source, "x"))
        x = np.concatenate([_every(source, "x"), _every(target, "x")])
        y = np.concatenate([_every(source, "y"), _every(target, "y")])
        known = {split: _those(source.items(split), selected) for split in SPLITS}
        self.source_items, self.target_items = known["train"], first + target.items("train")
        self.held_out = first + target.items("val")
        self.oracle: NDArray[np.int64] = y[self.held_out]
        y[self.target_items] = -1
        splits: dict[Split, IntArray] = {
            "train": np.concatenate([self.source_items, self.target_items]),
            "val": known["val"],
            "test": first + target.items("test"),
        }
        super().__init__(
            name=name,
            kind="classification",
            x=x,
            y=y,
            splits=splits,
            output_size=source.output_size or 1,
            preprocessing=source.preprocessing,
            facts=facts,
        )

    def minibatch(self, split: Split, size: int, step: int, key: int) -> tuple[IntArray, NDArray[Any]]:
        """Items and labels [size] of minibatch `step`: in training, the first half from the source."""
        if split != "train" or size < 2:
            return super().minibatch(split, size, step, key)
        half = size // 2
        source = in_epochs(self.source_items, half, step, int(bits(key, 0)))
        target = in_epochs(self.target_items, size - half, step, int(bits(key, 1)))
        chosen = np.concatenate([source, target])
        return chosen, self.targets(chosen)


def _those(items: IntArray, selected: NDArray[np.bool_] | None) -> IntArray:
    return items if selected is None else items[selected[items]]


def _every(source: ExampleSource, part: str) -> NDArray[Any]:
    count = 1 + max(int(source.items(split).max()) for split in ("train", "val", "test"))
    items = np.arange(count)
    found = source.gather(items) if part == "x" else source.targets(items)
    assert isinstance(found, np.ndarray)
    return found
