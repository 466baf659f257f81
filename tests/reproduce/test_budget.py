"""From a budget of time to lengths that a command can name."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamtl.config.compose import compose
from metamtl.errors import MetamtlError, UsageError
from metamtl.reproduce.budget import UPDATES, calibrating, plan, seconds_of, seconds_per_update
from metamtl.runs.metrics import MetricStream


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("90m", 5400), ("1.5h", 5400), ("1h30m", 5400)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "2h!", "-2h"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write a time such as 2h"):
        seconds_of(text)


def test_all_stages_are_shortened_alike() -> None:
    trainer = compose(["experiment=omniglot/metabaseline_5w1s"])["trainer"]
    assert (trainer["stages"]["pretrain"]["steps"], trainer["steps"]) == (4000, 500)
    found = plan(trainer, [0.1, 0.4], budget=60)  # the whole takes 600 s
    assert found.share == pytest.approx(0.1)
    assert {"trainer.steps=50", "trainer.stages.pretrain.steps=400", "trainer.validate_every=90"} <= set(
        found.overrides
    )
    compose(["experiment=omniglot/metabaseline_5w1s", *found.overrides])  # all of them are keys of the config


def test_it_is_never_longer_than_the_recipe() -> None:
    trainer = compose(["experiment=omniglot/protonet_5w1s"])["trainer"]
    assert plan(trainer, [0.1], budget=1e6) == plan(trainer, [], budget=1.0)  # nor where nothing is trained
    assert plan(trainer, [0.1], budget=1e6).overrides == ()
    assert "trainer.steps=1" in plan(trainer, [100.0], budget=1.0).overrides  # nor shorter than an update


def test_stages_that_have_no_length_of_their_own_count_too() -> None:
    trainer = compose(["algo=rfs", "data=glyphs", "algo.generations=1", "trainer.steps=100"])["trainer"]
    assert "trainer.steps=25" in plan(trainer, [1.0, 1.0], budget=50).overrides


def test_schedules_are_shortened_with_their_runs() -> None:
    base = ["algo=protonet", "data=glyphs", "trainer.steps=1000", "trainer.schedule.warmup=100"]
    step = compose([*base, "trainer.schedule.name=step", "trainer.schedule.every=200"])["trainer"]
    assert {"trainer.schedule.warmup=10", "trainer.schedule.every=20"} <= set(plan(step, [1.0], 100).overrides)
    at = compose([*base, "trainer.schedule.name=milestones", "trainer.schedule.at=[500,800]"])["trainer"]
    assert "trainer.schedule.at=[50,80]" in plan(at, [1.0], 100).overrides


def test_the_measuring_run_has_few_updates_of_each_stage() -> None:
    trainer = compose(["algo=metabaseline", "data=glyphs"])["trainer"]
    measuring = compose(["algo=metabaseline", "data=glyphs", *calibrating(trainer)])["trainer"]
    assert measuring["steps"] == measuring["stages"]["pretrain"]["steps"] == UPDATES


def test_an_update_costs_what_the_later_ones_took(tmp_path: Path) -> None:
    """The first warms up, and one slow update does not count."""
    with MetricStream(tmp_path / "metrics.jsonl") as stream:
        times = [9.0, 10.0, 11.0, 12.0, 33.0, 34.0, 40.0, 40.5, 41.0, 41.5, 42.0, 42.5]
        for step, seconds in enumerate(times):
            stream.write(step + 1, "train", {"time/seconds": seconds})
    assert seconds_per_update(tmp_path) == [1.0, 0.5]
    with MetricStream(tmp_path / "metrics.jsonl") as stream:
        stream.write(99, "train", {"time/seconds": 50.0})
    with pytest.raises(MetamtlError, match="is not whole"):
        seconds_per_update(tmp_path)
