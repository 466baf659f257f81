"""Shifts between origins of digits: what is known of the source, and that nothing is known of the target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.data import digit_domain
from metamtl.data.digit_files import Pictures
from metamtl.data.digit_shift import DigitShift
from metamtl.data.source import DataPaths

COUNTS = {"optdigits": (120, 40), "semeion": (100, 0)}


@pytest.fixture(autouse=True)
def _made_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(domain: str, paths: DataPaths, full: bool = False) -> Pictures:
        count, tested = COUNTS[domain]
        generator = np.random.default_rng(count)
        x = generator.integers(0, 256, size=(count, 8, 8)) * generator.uniform(0.2, 1, size=(count, 1, 1))
        return Pictures(x.astype(np.uint8), (np.arange(count) % 10).astype(np.int64), tested, "made")

    monkeypatch.setattr(digit_domain, "read_pictures", read)


def shift(**changes: Any) -> DigitShift:
    plain = {"rotate": 0.0, "noise": 0.0, "invert": False, "bias": 0.0, "labels": None, "split_seed": 0, "size": 8}
    return DigitShift(paths=DataPaths(None, Path()), **{"source": "optdigits", "target": "semeion", **plain, **changes})


def test_the_target_is_tested_and_its_training_labels_are_unknown() -> None:
    source = shift(invert=True)
    assert source.name == "optdigits-to-semeion-inverted"
    labels = source.targets(source.items("train"))
    assert (labels == -1).sum() == len(source.target_items) and (labels >= 0).sum() == len(source.source_items)
    assert len(source.items("test")) == 20 and (source.targets(source.items("test")) >= 0).all()
    assert len(source.oracle) == len(source.held_out) == 20


def test_fewer_labels_leave_the_target_as_it_is() -> None:
    few, all_of_them = shift(labels=30), shift()
    assert len(few.source_items) == 30
    assert len(few.target_items) == len(all_of_them.target_items)
    mine, theirs = (one.gather(one.items("test")) for one in (few, all_of_them))
    assert isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray) and np.array_equal(mine, theirs)


def test_a_bias_knows_the_thin_ones() -> None:
    source, biased = shift(source="semeion"), shift(source="semeion", bias=4.0, labels=40)
    known, every = ({split: one.items(split) for split in ("train", "val")} for one in (biased, source))
    thin, all_of_them = biased.gather(known["val"]), source.gather(every["val"])
    assert isinstance(thin, np.ndarray) and isinstance(all_of_them, np.ndarray)
    assert 0 < len(thin) < len(all_of_them) and thin.mean() < 0.95 * all_of_them.mean()
