"""Test-time choices: made on validation, with the weights that training left, and recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from metamtl.build import Parts, build_parts
from metamtl.config.compose import compose, merge
from metamtl.data.opening import open_source
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.evaluation import choice
from metamtl.evaluation.choice import chosen, refuse_other_weights, with_options
from metamtl.evaluation.protocol import evaluate_episodes
from metamtl.trainer.run import train_run

ALONE = World(0, 1)


def parts_of(choose: dict[str, list[Any]], tmp_path: Path, *changes: str, algo: str = "maml") -> Parts:
    few = ["eval.val_episodes=8", "eval.episodes=6", "task.queries=5", f"paths.cache={tmp_path}", "trainer.device=cpu"]
    config = compose([f"algo={algo}", "data=sinusoid", *few, *changes])
    config["eval"]["choose"] = choose
    return build_parts(config, open_source(config))


def test_the_best_on_validation_is_taken(tmp_path: Path) -> None:
    parts = parts_of({"test_steps": [0, 1, 5], "test_lr": [0.0, 0.01]}, tmp_path)
    best, tried = chosen(parts, ALONE)
    assert len(tried) == 6
    figures = [one["val/mse"]["mean"] for one in tried]
    assert figures == sorted(figures) and figures[0] < figures[-1]
    assert best.config["algo"]["test_steps"] == tried[0]["options"]["test_steps"] == 5
    for one in tried:  # each as a run with these options finds it
        again = evaluate_episodes(with_options(parts, one["options"]), ALONE, "val", 8)["mse"]
        assert float(again.mean()) == one["val/mse"]["mean"]
    assert torch.equal(best.learner.state_dict()["network.head.bias"], parts.learner.state_dict()["network.head.bias"])


def test_it_never_looks_at_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def noted(parts: Parts, world: World, split: Any, episodes: int) -> Any:
        seen.append(split)
        return evaluate_episodes(parts, world, split, episodes)

    monkeypatch.setattr(choice, "evaluate_episodes", noted)
    chosen(parts_of({"test_steps": [1, 2]}, tmp_path), ALONE)
    assert seen == ["val", "val"]


def test_without_candidates_nothing_is_tried(tmp_path: Path) -> None:
    parts = parts_of({}, tmp_path)
    assert chosen(parts, ALONE) == (parts, [])


def test_a_value_that_training_starts_from_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is a weight by then: whatever is tried, what was learnt is tested."""
    rates: dict[str, list[Any]] = {"initial_lr": [[0.1, 0.2], [1.0, 2.0]], "test_steps": [1, 5]}
    chosen(parts_of(rates, tmp_path, algo="metasgd"), ALONE)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("eval.choose.initial_lr: all its values give the same outputs")


def test_what_changes_the_weights_is_refused(tmp_path: Path) -> None:
    parts = parts_of({}, tmp_path)
    other = parts_of({}, tmp_path, "backbone.hidden=[8]")
    parts.learner = other.learner
    with pytest.raises(UsageError, match=r"eval\.choose: with test_steps=1 other weights are learnt"):
        with_options(parts, {"test_steps": 1})


def test_what_changes_the_weights_is_refused_before_training(tmp_path: Path) -> None:
    few = ["data=sinusoid", f"paths.cache={tmp_path}", f"paths.outputs={tmp_path / 'outputs'}", "trainer.device=cpu"]
    config = compose(["algo=cnp", *few, "eval.choose.hidden=[8,16]"])
    with pytest.raises(UsageError, match=r"eval\.choose: with hidden=8 other weights are learnt"):
        train_run(config, ["metamtl", "train"])
    assert not (tmp_path / "outputs").exists()
    parts = parts_of({"test_steps": [0, 1]}, tmp_path)
    before = torch.random.get_rng_state()
    refuse_other_weights(parts)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "+eval.choose.test_stepz=[1]",
            "eval.choose.test_stepz: no such key of algo; did you mean eval.choose.test_steps?",
        ),
        ("+eval.choose.test_steps=[1,-1]", "eval.choose.test_steps=[1, -1]: must be a list of one or more, each an"),
        ("+eval.choose.test_steps=3", "eval.choose.test_steps=3: must be a list of one or more, each an integer >= 0"),
        (
            "+eval.choose.test_steps=[]",
            "eval.choose.test_steps=[]: must be a list of one or more, each an integer >= 0",
        ),
    ],
)
def test_candidates_are_checked_as_the_keys_are(override: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose(["algo=maml", "data=sinusoid", override])
    (problem,) = caught.value.problems
    assert problem.startswith(said), problem


def test_candidates_have_the_types_of_their_keys() -> None:
    config = compose(["algo=maml", "data=sinusoid", "+eval.choose.test_lr=[1,null]", "+eval.choose.test_steps=[1e1]"])
    assert config["eval"]["choose"] == {"test_lr": [1.0, None], "test_steps": [10]}
    assert isinstance(config["eval"]["choose"]["test_steps"][0], int)


RECIPE = "experiment=omniglot/maml_5w1s"  # it brings candidates for test_steps and test_lr


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("algo.test_lr=0.3", ["test_steps"]),
        ("eval.choose={}", []),
        ("eval.choose={test_lr: [0.3]}", ["test_lr"]),
        ("algo.inner_lr=0.3", ["test_lr", "test_steps"]),
    ],
)
def test_what_is_typed_is_not_chosen(typed: str, left: list[str]) -> None:
    recipe = compose([RECIPE])
    assert sorted(recipe["eval"]["choose"]) == ["test_lr", "test_steps"]
    assert sorted(compose([RECIPE, typed])["eval"]["choose"]) == left
    assert sorted(merge(recipe, [typed], ["algo", "eval"])["eval"]["choose"]) == left


def test_candidates_that_are_typed_stand_beside_a_value() -> None:
    both = ["algo.test_lr=0.3", "eval.choose.test_lr=[0.1,0.2]"]
    assert compose([RECIPE, *both])["eval"]["choose"]["test_lr"] == [0.1, 0.2]
