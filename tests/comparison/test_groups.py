"""Which runs belong together, what they are called, and which groups may be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamtl.comparison.collect import collect
from metamtl.comparison.comparable import cautions, obstacles
from metamtl.comparison.groups import Group, grouped
from metamtl.comparison.names import short_keys, short_names
from metamtl.config.compose import compose
from metamtl.config.families import family_config
from tests.comparison.made import TRANSDUCTIVE, finished, started


def groups_of(outputs: Path) -> dict[str, Group]:
    return {group.name: group for group in grouped(collect([outputs]))}


def test_runs_that_differ_by_what_decides_no_figure_are_one_group(tmp_path: Path) -> None:
    finished(tmp_path, seed=0)
    finished(tmp_path, seed=1, changes={"label": "mine", "trainer.device": "cuda", "trainer.threads": 4})
    finished(tmp_path, seed=2, changes={"paths.outputs": "elsewhere", "logger": {"wandb": {"mode": "offline"}}})
    (group,) = grouped(collect([tmp_path]))
    assert (group.name, group.settings, len(group.counted)) == ("maml", {}, 3)


ENERGY = ["experiment=multitask/energy", "references=auto"]


def test_seeds_of_several_families_are_one_group(tmp_path: Path) -> None:
    more = [["paths.outputs=elsewhere", "label=mine"], ["trainer.device=cpu", "trainer.workers=2", "eval.cost=true"]]
    for seed, typed in enumerate([[], *more, ["references=none", "engine=loop"]]):
        finished(tmp_path, "joint", seed, changes=compose([*ENERGY, f"seed={seed}", *typed]))
    (group,) = grouped(collect([tmp_path]))
    assert (group.name, group.settings, len(group.counted)) == ("joint", {}, 4)


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("trainer.steps=7", {"trainer.steps"}),  # and not what each family's config says of it
        ("eval.seed=7", {"eval.seed"}),
        ("trainer.batch_size=7", {f"{whose}trainer.batch_size" for whose in ("", "families.heating.config.")}),
        ("families.heating.set.data.target=cooling", {"families.heating.config.data.target"}),
        ("weighting=pcgrad", {"weighting.name"}),
    ],
)
def test_what_a_family_is_made_with_tells_groups_apart(tmp_path: Path, typed: str, keys: set[str]) -> None:
    for overrides in ([], [typed]):
        finished(tmp_path, "joint", changes=compose([*ENERGY, *overrides]))
    first, second = grouped(collect([tmp_path]))
    assert keys <= first.settings.keys() | second.settings.keys()
    assert ("families.heating.config.eval.seed" in first.settings) is False
    assert ("families.heating.config.trainer.steps" in first.settings) is False


def test_a_family_alone_is_one_group_whatever_weighted_the_run_that_asked_for_it(tmp_path: Path) -> None:
    for seed, weighting in enumerate(["equal", "uncertainty"]):
        asking = compose([*ENERGY, f"seed={seed}", f"weighting={weighting}", f"mixing.take={2 - seed}"])
        finished(tmp_path, "joint", seed, changes=family_config(asking, "heating"))
    (group,) = grouped(collect([tmp_path]))
    assert (group.name, len(group.counted)) == ("joint", 2)


def test_a_group_shows_what_differs_and_nothing_else(tmp_path: Path) -> None:
    for seed in range(2):
        finished(tmp_path, "maml", seed, changes={"algo.inner_lr": 0.4})
        finished(tmp_path, "maml", seed, changes={"algo.inner_lr": 0.1})
        finished(tmp_path, "protonet", seed)
    groups = groups_of(tmp_path)
    assert list(groups) == ["maml inner_lr=0.4", "maml inner_lr=0.1", "protonet"]
    assert groups["maml inner_lr=0.1"].settings == {"algo.name": "maml", "algo.inner_lr": 0.1}
    assert groups["protonet"].settings == {"algo.name": "protonet"}


def test_groups_are_called_by_their_strategies_of_transfer(tmp_path: Path) -> None:
    strategies: list[dict[str, Any]] = [
        {name: {"name": name, "weight": 1.0} for name in ("l2sp", "kd")[:n]} for n in (1, 2)
    ]
    for transfer in ({"name": "none"}, *({"source": "outputs/run", **one} for one in strategies)):
        finished(tmp_path, changes={"transfer": transfer})
    assert set(groups_of(tmp_path)) == {"maml", "maml l2sp", "maml l2sp+kd"}


def test_of_one_seed_the_newest_finished_run_counts(tmp_path: Path) -> None:
    finished(tmp_path)
    newer = finished(tmp_path)
    started(tmp_path)
    (group,) = grouped(collect([tmp_path]))
    assert [record.path for record in group.counted] == [newer.path]
    assert (group.superseded, len(group.records)) == (1, 3)


def test_a_run_that_trains_on_does_not_count_with_its_old_figures(tmp_path: Path) -> None:
    finished(tmp_path).resume(["metamtl", "resume"])
    (group,) = grouped(collect([tmp_path]))
    assert group.counted == ()


def test_equal_configs_on_other_episodes_are_two_groups(tmp_path: Path) -> None:
    finished(tmp_path, seed=0)
    finished(tmp_path, seed=1, facts={"episodes_id": "another"})
    started(tmp_path, seed=2)
    groups = groups_of(tmp_path)
    assert list(groups) == ["maml episodes_id=id-40", "maml episodes_id=another"]
    assert [len(group.records) for group in groups.values()] == [2, 1]


PROTOCOLS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, {}, []),
    ({"split": "val", "episodes_id": "b"}, {}, ["another split (val against test)"]),
    (
        {"task": {"ways": 5, "shots": 5, "queries": 15}, "episodes_id": "b"},
        {},
        ["other tasks (5-way 5-shot, 15 queries against 5-way 1-shot, 15 queries)"],
    ),
    ({"episodes_id": "b"}, {"eval.seed": 7}, ["other episodes, eval.seed (7 against 1000)"]),
    (
        {"episodes_id": "b", "data": {"name": "glyphs", "fingerprint": "ffffffffffff"}},
        {},
        ["other data (fingerprint ffffffff against fingerprint 01234567)"],
    ),
    ({"episodes_id": "b"}, {}, ["other episodes (b against id-40)"]),
    ({"data": {"name": "omniglot"}, "episodes_id": "b", "transduction": "x"}, {}, ["another data set"]),
    ({"transduction": TRANSDUCTIVE}, {}, ["a prediction saw other things of its task (transductive"]),
]


@pytest.mark.parametrize(("facts", "more", "reasons"), PROTOCOLS)
def test_what_is_not_comparable_says_why(
    tmp_path: Path, facts: dict[str, Any], more: dict[str, Any], reasons: list[str]
) -> None:
    one, other = finished(tmp_path / "a", "anil", facts=facts, changes=more), finished(tmp_path / "b", "maml")
    first, second = grouped(collect([one.path, other.path]))
    first, second = (first, second) if first.name.startswith("anil") else (second, first)
    found = obstacles(first, second, "accuracy")
    assert len(found) == len(reasons)
    assert all(sentence.startswith(start) for sentence, start in zip(found, reasons, strict=True))
    assert bool(obstacles(second, first, "accuracy")) == bool(reasons)  # the same from the other side


def test_a_missing_metric_and_missing_names_of_episodes_are_obstacles(tmp_path: Path) -> None:
    for algo in ("anil", "maml"):
        finished(tmp_path, algo, facts={"episodes_id": None})
    first, second = grouped(collect([tmp_path]))
    assert obstacles(first, second, "mse") == ["anil and maml has no test figure for mse"]
    assert obstacles(first, second, "accuracy") == ["other episodes (None against None)"]


def test_other_training_data_and_other_normalisation_are_said(tmp_path: Path) -> None:
    finished(tmp_path, "anil", facts={"normalisation": "group"})
    finished(tmp_path, "maml", facts={"data": {"name": "glyphs", "fingerprint": "ffffffffffff"}})
    first, second = grouped(collect([tmp_path]))
    assert obstacles(first, second, "accuracy") == []
    assert cautions(first, second, "accuracy") == [
        "the test episodes are the same, the training data is not (fingerprint 01234567 against fingerprint ffffffff)",
        "normalisation layers used other statistics at test (group against running averages)",
    ]


def test_the_last_part_of_a_key_is_the_least_deep_ones() -> None:
    keys = ["task.shots", "trainer.task.shots", "data.split", "eval.split", "algo.inner_lr"]
    assert short_keys(keys) == {
        "task.shots": "shots",
        "trainer.task.shots": "trainer.task.shots",
        "data.split": "data.split",
        "eval.split": "eval.split",
        "algo.inner_lr": "inner_lr",
    }


settings = st.fixed_dictionaries(
    {"algo.name": st.sampled_from(["maml", "anil"])},
    optional={
        "data.name": st.sampled_from(["a", "b"]),
        "task.shots": st.integers(1, 3),
        "algo.inner_lr": st.sampled_from([0.1, 0.1000000001, None]),
        "backbone.name": st.sampled_from(["conv4", "mlp"]),
    },
)


@given(st.lists(settings, min_size=1, max_size=8))
def test_names_are_never_the_same_and_begin_with_the_method(drawn: list[dict[str, Any]]) -> None:
    names = short_names(drawn, drawn)
    assert len(set(names)) == len(names)
    assert all(name.startswith(one["algo.name"]) for name, one in zip(names, drawn, strict=True))


def test_names_leave_out_what_says_nothing_and_cut_what_is_long() -> None:
    transfers = [{"algo.name": "maml", "transfer.name": name} for name in ("none", "kd")]
    assert short_names(transfers, transfers) == ["maml", "maml kd"]
    both = [{**transfers[0], "data.name": data} for data in ("none", "glyphs")]
    assert short_names(both, both) == ["maml", "maml glyphs"]
    labels = [{"algo.name": "maml", "data.labels": count} for count in (None, 20)]
    assert short_names(labels, labels) == ["maml", "maml labels=20"]
    stages: list[dict[str, Any]] = [
        {"algo.name": "joint", "sequence": [{"data": {"digits": [n, n + 1]}} for n in range(start, 8, 2)]}
        for start in (0, 2)
    ]
    names = short_names(stages, stages)
    assert names[0].startswith("joint sequence=[{data: {digits: [0,1]}}") and max(map(len, names)) < 60


def test_a_run_of_a_sweep_is_called_by_its_sweep(tmp_path: Path) -> None:
    for number in ("3", "3-s1"):
        run = finished(tmp_path)
        run.path.rename(tmp_path / number)
    assert {record.name for record in collect([tmp_path])} == {f"{tmp_path.name}/3", f"{tmp_path.name}/3-s1"}
