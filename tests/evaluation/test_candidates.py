"""The candidates that experiments bring: the trained value among them, each valid for the learnt weights, none idle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metamtl.build import build_parts
from metamtl.config.compose import compose
from metamtl.config.keys import CHOOSE
from metamtl.config.library import Library
from metamtl.data.opening import open_source
from metamtl.engine.world import World
from metamtl.evaluation.choice import chosen

GROUPS = Library.load().groups
TINY = ("data=glyphs", "backbone.width=4", "trainer.device=cpu", "task.queries=1", "eval.val_episodes=2")


def candidates(experiment: str) -> dict[str, list[Any]]:
    """What the experiment brings, by keys of `algo`."""
    values = GROUPS["experiment"][experiment].values
    return {key.removeprefix(CHOOSE): listed for key, listed in values.items() if key.startswith(CHOOSE)}


def of(experiment: str, group: str) -> str:
    """The option of a group that the experiment chooses."""
    return dict(GROUPS["experiment"][experiment].defaults)[group]


CHOOSING = [name for name in GROUPS["experiment"] if candidates(name)]
SAME = {"maml", "fomaml", "anil", "boil"}  # their inner loop is metacurvature's
# one of each other learner: what its tables list differs by figures alone
ONE_EACH = sorted({of(name, "algo"): name for name in CHOOSING if of(name, "algo") not in SAME}.values())


def trained(experiment: str, key: str) -> float | None:
    """What training has where the candidates of `key` are for tests."""
    algo, data = of(experiment, "algo"), of(experiment, "data")
    recipe = GROUPS["recipe"].get(f"{algo}-{data}")
    # the strongest first
    layers = [GROUPS["experiment"][experiment], *([recipe] if recipe else []), GROUPS["algo"][algo]]
    value: Any = next(one.values[f"algo.{key}"] for one in layers if f"algo.{key}" in one.values)
    if value is None and key.startswith("test_"):
        return trained(experiment, key.replace("test_", "inner_"))
    return value if value is None else float(value)


def test_the_tables_choose_what_can_be_chosen() -> None:
    heads = {"baseline", "baselinepp", "rfs", "leo", "matching", "metaoptnet"}
    loops = {"maml", "fomaml", "anil", "boil", "reptile", "metasgd", "metacurvature", "mamlpp", "imaml", "cavia"}
    assert {of(name, "algo") for name in CHOOSING} == heads | loops
    by_one = {of(name, "algo") for name in CHOOSING if name.startswith("omniglot/")}
    assert by_one == heads - {"matching", "metaoptnet"} | loops  # theirs decide nothing by one example a class


@pytest.mark.parametrize("experiment", CHOOSING)
def test_the_trained_value_is_a_candidate(experiment: str) -> None:
    combinations = 1
    for key, listed in candidates(experiment).items():
        values = [value if value is None else float(value) for value in listed]
        assert trained(experiment, key) in values, key
        assert 1 < len(set(values)) == len(values), key
        combinations *= len(values)
    assert combinations <= 9


@pytest.mark.parametrize("experiment", ONE_EACH)
def test_no_candidate_needs_other_weights_or_is_idle(
    experiment: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = compose([f"experiment={experiment}", *TINY, f"paths.cache={cache}"])
    assert config["eval"]["choose"] == candidates(experiment)
    _, tried = chosen(build_parts(config, open_source(config)), World(0, 1))
    assert len(tried) > 1
    assert not [record.getMessage() for record in caplog.records]
