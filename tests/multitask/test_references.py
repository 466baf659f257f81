"""Single-task references: found or trained, compared on identical episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.config.compose import compose
from metamtl.errors import UsageError
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import read_episodes, read_result
from metamtl.trainer.run import train_run
from tests.multitask.test_families import WAVES

SMALL = [*WAVES, "references=auto", "trainer.steps=2", "trainer.validate_every=1", "eval.episodes=10"]
SMALL += ["eval.val_episodes=4", "eval.gap_episodes=0", "trainer.pictures=0"]


def run(tmp_path: Path, *more: str) -> dict[str, RunFolder]:
    """Every run in the outputs after one with references, by the end of its name."""
    train_run(compose([*SMALL, f"paths.outputs={tmp_path}", *more]), ["metamtl"])
    return {path.name.partition("-")[2].partition("-")[2]: RunFolder(path) for path in tmp_path.iterdir()}


def test_each_family_is_trained_alone_once_and_compared_pair_by_pair(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert found.keys() == {"maml-low-high-s0", "low-alone-s0", "high-alone-s0"}
    together: Any = found["maml-low-high-s0"]
    record: Any = read_result(together)["references"]
    changes = []
    for name in ("low", "high"):
        alone = read_episodes(found[f"{name}-alone-s0"])["mse"]
        joint = read_episodes(together)[f"{name}/mse"]
        assert record["families"][name]["difference"]["mean"] == pytest.approx((joint - alone).mean())
        changes.append(-(joint.mean() - alone.mean()) / alone.mean())  # a lower error is better
    assert record["delta_m"]["mean"] == pytest.approx(np.mean(changes))
    assert record["negative_transfer"]["rate"] == np.mean([change < 0 for change in changes])


def test_a_reference_that_is_there_is_taken(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run(tmp_path, "weighting=pcgrad", "label=second")
    assert again.keys() - first.keys() == {"second"}
    run(tmp_path, "trainer.optimizer.lr=0.01", "label=third")
    assert len(list(tmp_path.iterdir())) == 7  # under another rate, two references more
    reference: Any = read_result(again["second"])["references"]
    assert reference["families"]["low"]["run"] == first["low-alone-s0"].path.name


def test_layers_on_top_are_those_of_a_family_alone_too(tmp_path: Path) -> None:
    on_top = ("sharing=trunk", "sharing.width=5", "sharing.hidden=[4]")
    found = run(tmp_path, *on_top)
    together: Any = found["maml-low-high-s0"]
    record: Any = read_result(together)["references"]
    for name in ("low", "high"):
        alone = found[f"{name}-alone-s0"]
        assert list(alone.config()["families"]) == [name] and alone.config()["sharing"]["name"] == "trunk"
        difference = read_episodes(together)[f"{name}/mse"] - read_episodes(alone)[f"{name}/mse"]
        assert record["families"][name]["difference"]["mean"] == pytest.approx(difference.mean())
    run(tmp_path, *on_top, "weighting=pcgrad", "label=second")
    assert len(list(tmp_path.iterdir())) == 4  # the references are taken again
    run(tmp_path, "sharing=trunk", "sharing.width=6", "sharing.hidden=[4]", "label=third")
    assert len(list(tmp_path.iterdir())) == 7  # of other layers they are others


def test_one_family_has_no_reference(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this run has one family"):
        train_run(compose(["algo=maml", "data=sinusoid", "references=auto", f"paths.outputs={tmp_path}"]), ["metamtl"])
    assert not list(tmp_path.iterdir())
