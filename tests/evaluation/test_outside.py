"""Examples of no class, told from those of a task's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metamtl.config.compose import compose
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.evaluation import report
from metamtl.evaluation.outside import NAME, area, outside_figures
from metamtl.families import Families, build_families
from metamtl.opening import open_sources
from tests.data.test_clinc150 import official


def families(folder: Path, *options: str) -> Families:
    places = [f"paths.data={folder}", f"paths.cache={folder / 'cache'}", "trainer.device=cpu", "task.queries=2"]
    small = ["backbone.width=8", "backbone.vocabulary=500", "trainer.task.ways=5", "eval.episodes=6"]
    config = compose(["data=clinc150", *places, *small, "eval.gap_episodes=0", *options])
    return build_families(config, open_sources(config))


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    draw = np.random.default_rng(0)
    inside, outside = draw.integers(0, 5, 30), draw.integers(0, 4, 20)
    pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
    assert area(torch.from_numpy(inside), torch.from_numpy(outside)) == pytest.approx(np.mean(pairs))
    assert area(torch.tensor([2.0, 3.0]), torch.tensor([1.0])) == 1.0


@pytest.mark.parametrize("algo", ["protonet", "anil"])
def test_every_test_task_meets_the_same_examples_of_no_class(tmp_path: Path, algo: str) -> None:
    made = families(official(tmp_path), f"algo={algo}", "eval.outside=2")
    result, figures = report.tested(made, World(0, 1), lambda done, of: None)
    assert figures[NAME].shape == (6,) and 0 <= result["test"][NAME]["mean"] <= 1
    again = outside_figures(made.first, "test", 3, 2)
    assert np.array_equal(again[NAME], figures[NAME][:3])


def test_what_is_less_likely_to_be_of_any_class_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = families(official(tmp_path), "algo=chance", "trainer.steps=0")
    assert (outside_figures(made.first, "test", 4, 2)[NAME] == 0.5).all()  # all outputs are equal

    def predict(state: Any, x: torch.Tensor) -> torch.Tensor:
        sure = len(x) == 10  # the queries, five classes of two
        outputs = torch.zeros(len(x), 7)
        outputs[:, 5:] = 99.0  # beyond the task's ways
        outputs[:, 0] = 3.0 if sure else 1.0
        return outputs

    monkeypatch.setattr(made.first.learner, "predict", predict)
    assert (outside_figures(made.first, "test", 4, 2)[NAME] == 1.0).all()


def test_what_the_data_lacks_is_refused(tmp_path: Path) -> None:
    """As the data is opened, and not after all training."""
    with pytest.raises(UsageError, match=r"eval\.outside=3: clinc150 has 2 of no class in its test split"):
        families(official(tmp_path), "algo=protonet", "eval.outside=3")
    with pytest.raises(UsageError, match=r"eval\.outside=20: glyphs has none of no class"):
        open_sources(compose(["data=glyphs", "eval.outside=20"]))
