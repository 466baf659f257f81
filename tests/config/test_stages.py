"""What a stage may have of its own is checked as the keys of `trainer` are."""

from __future__ import annotations

import pytest

from metamtl.config.compose import compose
from metamtl.config.stages import OWN, stage_options
from metamtl.errors import UsageError

PRETRAIN = "+trainer.stages.pretrain"


def problems(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(UsageError) as caught:
        compose(["algo=baseline", "data=glyphs", *overrides])
    return caught.value.problems


def test_values_have_their_types() -> None:
    own = ("steps=1e2", "optimizer.lr=1", "task.ways=[5,10]", "clip_norm=null", "schedule.name=cosine")
    config = compose(["algo=baseline", "data=glyphs", *(f"{PRETRAIN}.{one}" for one in own)])
    assert config["trainer"]["stages"]["pretrain"] == {
        "steps": 100,
        "optimizer": {"lr": 1.0},
        "task": {"ways": [5, 10]},
        "clip_norm": None,
        "schedule": {"name": "cosine"},
    }


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=-1", "trainer.stages.pretrain.optimizer.lr=-1: must be a number >= 0."),
        (
            "optimizer.name=adm",
            "trainer.stages.pretrain.optimizer.name=adm: must be one of adam, adamw, sgd, rmsprop; did you mean adam?",
        ),
        ("optimizer.rate=1", "trainer.stages.pretrain.optimizer.rate: no such key; did you mean"),
        ("stepz=1", "trainer.stages.pretrain.stepz: no such key; did you mean trainer.stages.pretrain.steps?"),
        ("optimizer=sgd", "trainer.stages.pretrain.optimizer: a section, not a key; it has trainer.optimizer.name,"),
        ("device=cpu", "trainer.stages.pretrain.device: all stages share trainer.device; a stage may have steps,"),
        ("task.ways=2000", "trainer.stages.pretrain.task.ways=2000: data=glyphs has 1626 classes in its train split."),
    ],
)
def test_each_mistake_is_one_clear_sentence(override: str, said: str) -> None:
    (problem,) = problems(f"{PRETRAIN}.{override}")
    assert problem.startswith(said), problem


def test_a_stage_is_a_section() -> None:
    (problem,) = problems("+trainer.stages.pretrain=5")
    assert problem == "trainer.stages.pretrain: a section, not a key; write trainer.stages.pretrain.steps=..."


def test_a_stage_inherits_what_it_has_not() -> None:
    trainer = compose(["algo=metabaseline", "data=glyphs", "trainer.optimizer.momentum=0.5"])["trainer"]
    own = stage_options(trainer, "pretrain")
    assert own["optimizer"]["lr"] == 1e-3 != trainer["optimizer"]["lr"]
    assert own["optimizer"]["momentum"] == 0.5
    assert stage_options(trainer, "meta") == trainer
    assert set(OWN) <= trainer.keys()
