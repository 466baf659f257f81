"""The nearest valid name."""

from __future__ import annotations

import pytest

from metamtl.config.hints import nearest, nearest_key

KEYS = ["trainer.steps", "trainer.optimizer.lr", "task.shots", "trainer.task.shots", "algo.inner_lr", "data", "seed"]


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("trainer.step", "trainer.steps"),
        ("shots", "task.shots"),
        ("lr", "trainer.optimizer.lr"),
        ("algo.innerlr", "algo.inner_lr"),
        ("sed", "seed"),
        ("zzzzzz", None),
    ],
)
def test_the_nearest_key_is_found(wrong: str, meant: str | None) -> None:
    assert nearest_key(wrong, KEYS) == meant


def test_words_are_compared_without_case() -> None:
    assert nearest("MAM", ["maml", "anil"]) == "maml"
    assert nearest("qqqq", ["maml", "anil"]) is None
