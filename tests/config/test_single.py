"""Options that a run of one family has no use for are refused with what to do instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamtl.config.compose import compose, plan
from metamtl.config.library import Library
from metamtl.config.paths import own_folder
from metamtl.config.single import without_effect
from metamtl.errors import UsageError
from tests.commands.stub import run

GROUPS = Library([own_folder()]).groups
FAMILIES = ("families.low={data: sinusoid}", "families.high={data: sinusoid}")
REFUSED = [f"weighting={name}" for name in GROUPS["weighting"] if name != "equal"]
REFUSED += [f"sharing={name}" for name in GROUPS["sharing"] if name != "hard"]
REFUSED += ["relatedness.every=2", "mixing.take=1", "mixing.rule=subsets"]
DEFAULTS = {"weighting": "equal", "sharing": "hard", "relatedness.every": "null", "mixing.take": "null"}
DEFAULTS["mixing.rule"] = "proportional"


def problems(*words: str, multirun: bool = False) -> tuple[str, ...]:
    with pytest.raises(UsageError) as refused:
        plan(words, multirun=multirun)
    return refused.value.problems


@pytest.mark.parametrize("word", REFUSED)
def test_one_family_is_refused_what_several_have(word: str) -> None:
    (problem,) = problems("algo=maml", "data=sinusoid", word)
    key = word.partition("=")[0]
    assert problem.startswith(f"{word}: ")
    assert f"this run has one family: leave {key}={DEFAULTS[key]}, or name several families" in problem
    assert "families.NAME={data: OPTION}" in problem
    more = ["sharing.groups=[[low],[high]]"] if word == "sharing=grouped" else []
    assert compose(["algo=maml", "data=sinusoid", word, *more, *FAMILIES])["families"]


def test_one_family_with_a_name_is_one() -> None:
    """Its network is made by `sharing` all the same."""
    named = ("algo=maml", "data=sinusoid", FAMILIES[0])
    assert compose([*named, "sharing=mmoe"])["sharing"]["name"] == "mmoe"
    found = problems(*named, "weighting=pcgrad", "relatedness.every=2")
    assert [problem.partition(":")[0] for problem in found] == ["weighting=pcgrad", "relatedness.every=2"]


def test_groups_of_which_none_is_named_are_told() -> None:
    several = ("algo=maml", "data=sinusoid", *FAMILIES, "sharing=grouped")
    (problem,) = problems(*several)
    assert problem.startswith("sharing=grouped: without groups all families share one backbone, as in sharing=hard")
    assert "'sharing.groups=[[low],[high]]'" in problem
    assert compose([*several, "sharing.groups=[[low],[high]]"])["sharing"]["groups"] == [["low"], ["high"]]


@pytest.mark.parametrize("rule", ["equal", "temperature"])
def test_a_rule_by_which_nothing_is_drawn_is_told(rule: str) -> None:
    several = ("algo=maml", "data=sinusoid", *FAMILIES, f"mixing.rule={rule}")
    (problem,) = problems(*several)
    assert problem.startswith(f"mixing.rule={rule}: ") and "set mixing.take" in problem
    assert compose([*several, "mixing.take=1"])["mixing"]["rule"] == rule
    (problem,) = problems("algo=maml", "data=sinusoid", f"mixing.rule={rule}")
    assert "this run has one family: leave mixing.rule=proportional" in problem


def test_a_temperature_that_nothing_asks_for_is_told() -> None:
    several = ("algo=maml", "data=sinusoid", *FAMILIES, "mixing.temperature=5", "mixing.take=1")
    (problem,) = problems(*several)
    assert problem.startswith("mixing.temperature=5: ") and "leave mixing.temperature=2.0" in problem
    assert compose([*several, "mixing.rule=temperature"])["mixing"]["temperature"] == 5


def test_a_key_that_every_family_has_of_its_own_is_told() -> None:
    several = ("experiment=multitask/digits4", "data.target=odd")
    assert compose(several)  # which one family says too
    (problem,) = problems("experiment=multitask/digits4", "data.target=closed")
    assert problem.startswith("data.target=closed: no family takes it, as each has other data or a value of its own")
    assert "families.digit.set.data.target=closed" in problem


def test_what_is_typed_of_the_data_is_for_the_families_that_have_it() -> None:
    families = compose(["experiment=multitask/multimnist", "data.full=true"])["families"]
    assert [one["config"]["data"]["full"] for one in families.values()] == [True, True]
    of_digits = ("algo=joint", "data=digits", "data.split_seed=3", "families.b={data: fsdd}")
    (problem,) = problems(*of_digits, "families.a={data: digits, set: {data: {split_seed: 1}}}")
    assert problem.startswith("data.split_seed=3: no family takes it")
    found = compose([*of_digits, "families.a={data: digits}"])["families"]
    found = {name: found[name] for name in "ab"}
    assert [one["config"]["data"]["split_seed"] for one in found.values()] == [3, 0]


def test_data_that_no_family_has_is_told_how_to_be_typed() -> None:
    (problem,) = problems("experiment=multitask/intent_slots", "data=hwu64")
    assert problem.startswith("data=hwu64: no family takes it (intent has snips, slots has snips): type ")
    instead = problem.partition("type ")[2].partition(", or")[0].split()
    found = compose(["experiment=multitask/intent_slots", *instead])["families"]
    assert [one["config"]["data"]["name"] for one in found.values()] == ["hwu64", "hwu64"]
    assert compose(["experiment=multitask/intent_slots", "data=hwu64", "families.slots.data=hwu64"])


def test_a_rule_that_an_algorithm_brings_is_no_choice() -> None:
    assert without_effect({"algo": {"name": "mtml"}, "mixing": {"rule": "subsets", "take": None}}, {}) == []


def test_what_was_chosen_without_need_is_told_beside_all_else() -> None:
    found = problems("data=digits", "algo=joint", "weighting=pcgrad", "sharing=mmoe", "trainer.step=5", "seed=-1")
    assert [problem.partition(":")[0] for problem in found] == [
        "trainer.step",
        "seed=-1",
        "weighting=pcgrad",
        "sharing=mmoe",
    ]


def test_families_that_a_misspelt_experiment_would_bring_are_not_missed() -> None:
    (problem,) = problems("experiment=multitask/digit4", "weighting=pcgrad", "sharing=mmoe", "relatedness.every=2")
    assert problem.startswith("experiment=multitask/digit4: there is no such option; did you mean")


def test_each_job_of_a_multirun_is_looked_at() -> None:
    (problem,) = problems("algo=maml", "data=sinusoid", "weighting=equal,pcgrad", multirun=True)
    assert problem.startswith("weighting=pcgrad: ")
    assert plan(["algo=maml", "data=sinusoid", "weighting=equal,pcgrad", *FAMILIES], multirun=True).multirun


def test_the_command_line_refuses_before_torch_is_imported(tmp_path: Path) -> None:
    done = run(tmp_path, "train", "weighting=pcgrad")
    assert (
        done.returncode == 2
        and done.stderr.startswith("weighting=pcgrad: ")
        and not (tmp_path / "calls.jsonl").exists()
    )


def test_sections_that_are_no_sections_are_left_to_the_check_of_types() -> None:
    assert without_effect({"weighting": None, "sharing": "hard", "relatedness": 3}, {}) == []
