"""Composition: what wins over what, which config comes out, and every problem at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metamtl.config.compose import compose, merge, plan
from metamtl.config.library import Library, Option
from metamtl.config.paths import own_folder
from metamtl.errors import UsageError
from tests.config.options import TOY, write

SHIPPED = [option for option in Library([own_folder()]).options() if option.group != "recipe"]


def problems(*overrides: str, folder: Path | None = None, multirun: bool = False) -> tuple[str, ...]:
    with pytest.raises(UsageError) as caught:
        plan(overrides, folder, multirun)
    return caught.value.problems


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write(tmp_path, {"data/toy.yaml": TOY})


@pytest.mark.parametrize("option", SHIPPED, ids=lambda option: f"{option.group}={option.name}")
def test_every_option_composes(option: Option) -> None:
    needed = [f"{key}=x" for key in _mandatory(option.raw)]
    if option.group in ("weighting", "sharing"):  # which one family has no use for
        needed += ["families.a={data: glyphs}", "families.b={data: glyphs}"]
    if option.name == "grouped":
        needed.append("sharing.groups=[[a],[b]]")
    config = compose([f"{option.group}={option.name}", *needed])
    assert "about" not in config
    assert not any(isinstance(section, dict) and "about" in section for section in config.values())


def _mandatory(node: Any, prefix: str = "") -> list[str]:
    if isinstance(node, dict):
        return [key for name, value in node.items() for key in _mandatory(value, f"{prefix}{name}.")]
    return [prefix[:-1]] if node == "???" else []


@pytest.mark.parametrize("algo", [option.name for option in SHIPPED if option.group == "algo"])
def test_every_algo_composes_with_regression(algo: str) -> None:
    assert compose([f"algo={algo}", "data=sinusoid"])["backbone"]["name"] == "mlp"


def test_values_have_their_types_and_paths_are_absolute(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy)
    config = compose(["data=toy", "trainer.steps=1e3", "trainer.optimizer.lr=1", "label=12", "task.ways=6"], toy)
    assert config["trainer"]["steps"] == 1000
    assert isinstance(config["trainer"]["steps"], int)
    assert isinstance(config["trainer"]["optimizer"]["lr"], float)
    assert config["label"] == "12"
    assert config["trainer"]["task"]["ways"] == 6
    assert config["paths"]["outputs"] == str(toy / "outputs")
    assert config["paths"]["cache"].startswith(str(Path.home()))


# what sets backbone, trainer.meta_batch and trainer.steps, from the weakest to the strongest
RECIPE = "# @package _global_\ntrainer:\n  meta_batch: 8\n  steps: 8\n"
EXPERIMENT = "# @package _global_\ndefaults:\n  - override /backbone: conv4\ntrainer:\n  meta_batch: 9\n"
ALGO = "# @package _global_\nabout:\n  keys: {}\nalgo:\n  name: mine\ntrainer:\n  meta_batch: 6\n  steps: 6\n"


def test_precedence(toy: Path) -> None:
    def made(*overrides: str) -> tuple[str, int, int]:
        config = compose(["algo=mine", *overrides], toy)
        return config["backbone"]["name"], config["trainer"]["meta_batch"], config["trainer"]["steps"]

    write(toy, {"algo/mine.yaml": ALGO, "experiment/own.yaml": EXPERIMENT})
    assert made("data=toy") == ("mlp", 7, 6)  # data over algo, and its own backbone
    write(toy, {"recipe/mine-toy.yaml": RECIPE})
    assert made("data=toy") == ("mlp", 8, 8)  # the recipe for the pair over data
    assert made("data=toy", "experiment=own") == ("conv4", 9, 8)  # experiment over the recipe
    user = ("data=toy", "experiment=own", "backbone=mlp", "trainer.meta_batch=10", "trainer.steps=11")
    assert made(*user) == ("mlp", 10, 11)  # the user over all


def test_a_recipes_key_for_another_backbone_is_left_out_but_a_typed_one_is_refused(toy: Path) -> None:
    write(toy, {"recipe/maml-toy.yaml": "# @package _global_\nbackbone:\n  hidden: [8]\n"})
    arguments = ["algo=maml", "data=toy"]
    assert compose(arguments, toy)["backbone"]["hidden"] == [8]
    assert "hidden" not in compose([*arguments, "backbone=conv4"], toy)["backbone"]
    (problem,) = problems(*arguments, "backbone=conv4", "backbone.hidden=[4]", folder=toy)
    assert problem == "backbone.hidden: not a key of the options chosen; backbone=mlp has it."


def test_all_problems_come_at_once(toy: Path) -> None:
    found = problems(
        "data=toy",
        "trainer.step=5",
        "trainer.meta_batch=-1",
        "algo.distance=euclid",
        "x y",
        "wighting=equal",
        folder=toy,
    )
    assert found == (
        "'x y': no override; write key=value.",
        "trainer.step: no such key; did you mean trainer.steps?",
        "wighting: no such key; did you mean weighting?",
        "trainer.meta_batch=-1: must be an integer >= 1.",
        "algo.distance=euclid: must be one of euclidean, cosine; did you mean euclidean?",
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("algo=mamls", "algo=mamls: there is no such option; did you mean algo=maml?"),
        ("trainer=3", "trainer=3: there is no such option."),
        ("algo.inner_lr=1", "algo.inner_lr: not a key of the options chosen; algo="),
        ("shots=3", "shots: no such key; did you mean task.shots?"),
        ("task=3", "task: a section, not a key; it has task.ways, task.shots, task.queries."),
        ("task.ways=[9,3]", "task.ways=[9, 3]: must be an integer >= 2 or a pair [low, high]."),
        ("seed=0,1", "seed=0,1: several values; add -m to run each, or write 'seed=[0,1]' for a list."),
        ("hydra.mode=${seed}", "hydra.mode: it must be RUN or MULTIRUN."),
        ("trainer.steps=many", "trainer.steps=many: must be an integer >= 0."),
        ("+trainer.foo=1", "trainer.foo: no such key"),
        ("+trainer.steps=1", "Could not append to config. An item is already at 'trainer.steps'."),
        ("~trainer.steps", "trainer.steps is missing: it takes an integer >= 0."),
        ("trainer.stages.first.stepz=3", "trainer.stages.first.stepz: no such key; did you mean trainer.stages.first"),
        ("+trainer.stages.first.steps=-3", "trainer.stages.first.steps=-3: must be an integer >= 0."),
        ("algo=={", "'algo=={': cannot be read ("),
        ("families=3", "families=3: must be a mapping."),
        ("seed=${nowhere}", "seed: Interpolation key 'nowhere' not found."),
    ],
)
def test_each_mistake_is_one_clear_sentence(override: str, said: str, toy: Path) -> None:
    found = problems("data=toy", override, folder=toy)
    assert any(problem.startswith(said) for problem in found), found
    assert all("\n" not in problem for problem in found)


@pytest.mark.parametrize("transfer", ["none", "rules", "reweight", "[rules,reweight]"])
def test_a_source_that_no_strategy_takes_is_refused_with_those_that_do(transfer: str, toy: Path) -> None:
    (problem,) = problems("data=toy", f"transfer={transfer}", "transfer.source=outputs/RUN", folder=toy)
    assert problem.startswith("transfer.source: not a key of the options chosen; transfer=agem, attention, auto, ")
    assert problem.endswith("or soup has it: choose one (`metamtl list transfer` says what each is).")
    assert " finetune," in problem and "rules" not in problem and "reweight" not in problem
    assert compose(["data=toy", "transfer=[rules,finetune]", "transfer.source=x"], toy)["transfer"]["source"]


def test_a_users_own_file_is_checked_too(toy: Path) -> None:
    bad = "# @package _global_\ntrainr:\n  steps: 3\ntrainer:\n  meta_batch: -3\n  optimizer:\n    rate: 1\n"
    write(toy, {"experiment/bad.yaml": bad, "experiment/torn.yaml": "a: [1\n"})
    found = problems("data=toy", "experiment=bad", folder=toy)
    assert set(found) == {
        "trainr: no such key; did you mean trainer?",
        "trainer.meta_batch=-3: must be an integer >= 1.",
        "trainer.optimizer.rate: no such key; did you mean trainer.optimizer.name?",
    }
    assert "torn.yaml" in " ".join(problems("data=toy", "experiment=torn", folder=toy))


def test_a_users_variant_has_the_keys_of_the_method_that_it_names(toy: Path) -> None:
    write(toy, {"algo/mine.yaml": "# @package _global_\nalgo:\n  name: maml\n  inner_lr: 0.5\n  inner_steps: 2\n"})
    assert compose(["data=toy", "algo=mine", "algo.inner_steps=3"], toy)["algo"]["inner_steps"] == 3
    assert problems("data=toy", "algo=mine", "algo.inner_lr=-1", folder=toy) == (
        "algo.inner_lr=-1: must be a number >= 0.",
    )


def test_tasks_that_the_data_cannot_make_are_refused(toy: Path) -> None:
    assert problems("data=toy", "task.ways=[5,11]", folder=toy) == (
        "task.ways=11: data=toy has 10 classes in its val split.",
    )
    assert problems("data=toy", "trainer.task.ways=31", folder=toy) == (
        "trainer.task.ways=31: data=toy has 30 classes in its train split.",
    )
    (shots,) = problems("data=toy", "task.shots=6", "trainer.task.shots=1", folder=toy)
    assert shots == "task.shots=6 and task.queries=15 take 21 examples of a class: data=toy has 20."
    assert compose(["data=toy", "task.shots=5"], toy)["task"]["shots"] == 5
    # the counts are those of the split as written: of another the data itself knows
    assert compose(["data=toy", "data.split=b", "task.ways=40"], toy)["task"]["ways"] == 40


def test_each_value_of_a_sweep_is_checked(toy: Path) -> None:
    found = problems(
        "data=toy", "algo=maml,mml,protonet", "trainer.meta_batch=1,0", "task.ways=5,11", folder=toy, multirun=True
    )
    assert {problem.split(":")[0] for problem in found} == {"algo=mml", "trainer.meta_batch=0", "task.ways=11"}
    planned = plan(["data=toy", "seed=range(0,3)", "algo=glob(*)"], toy, multirun=True)
    assert planned.multirun
    assert planned.config["seed"] == 0


def test_a_sweep_over_options_of_several_families_is_composed() -> None:
    words = ["experiment=multitask/digits4", "weighting=equal,pcgrad,nothing"]
    with pytest.raises(UsageError) as raised:
        plan(words, None, multirun=True)
    assert all("nothing" in problem for problem in raised.value.problems)
    assert plan(["experiment=multitask/digits4", "weighting=equal,pcgrad", "seed=0,1"], None, multirun=True).multirun


def test_hydras_own_keys_are_left_to_hydra(toy: Path) -> None:
    assert compose(["data=toy", "hydra.sweep.dir=x"], toy)["task"]
    assert "hydra/launcher" in " ".join(problems("data=toy", "hydra/launcher=nothing", folder=toy))


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_remarks_of_ones_own_have_a_place(plus: str, toy: Path) -> None:
    words = ["data=toy", f"{plus}note.why=trial", f"{plus}note.of={{sheet: 3}}"]
    assert compose(words, toy)["note"] == {"why": "trial", "of": {"sheet": 3}}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("+foo=3", "foo: no such key. What is to be kept and not used goes to note.foo."),
        ("++sede=3", "sede: no such key; did you mean seed? What is"),
        ("+trainr.steps=3", "trainr.steps: no such key; did you mean trainer.steps? What is"),
        ("+foo={a: 1}", "foo: no such key."),
    ],
)
def test_a_plus_makes_no_key_known(typed: str, said: str, toy: Path) -> None:
    (problem,) = problems("data=toy", typed, folder=toy)
    assert problem.startswith(said)
    (problem,) = problems("data=toy", typed, folder=toy, multirun=True)
    assert problem.startswith(said)


def test_merge_changes_what_is_allowed_and_says_what_is_not(toy: Path) -> None:
    config = compose(["data=toy", "algo=maml"], toy)
    merged = merge(config, ["task.shots=2", "eval.episodes=1e4"], ["task", "eval"])
    assert merged["task"]["shots"] == 2
    assert merged["eval"]["episodes"] == 10000
    assert merged["trainer"] == config["trainer"]
    assert config["task"]["shots"] == 1  # the run's own config stays as it is
    with pytest.raises(UsageError) as caught:
        merge(
            config,
            ["tsk.shots=2", "task.shot=2", "trainer.steps=5", "eval.episodes=1", "+task.x=1", "task.ways=1,2"],
            ["task", "eval"],
        )
    assert caught.value.problems == (
        "tsk.shots: no such key; did you mean task.shots?",
        "task.shot: no such key; did you mean task.shots?",
        "trainer.steps is settled when a run starts; here you can set eval, task.",
        "eval.episodes=1: must be an integer >= 2.",
        "+task.x=1: only a plain key=value can change a finished run.",
        "task.ways=1,2: only a plain key=value can change a finished run.",
    )


def test_merge_looks_into_candidates(toy: Path) -> None:
    config = compose(["data=toy", "algo=maml"], toy)
    merged = merge(config, ["eval.choose={test_steps: [1, 1e1], test_lr: [null, 1]}"], ["eval"])
    assert merged["eval"]["choose"] == {"test_steps": [1, 10], "test_lr": [None, 1.0]}
    for typed, said in (
        (
            "{test_lr: [None]}",
            'eval.choose.test_lr=["None"]: must be a list of one or more, each a number >= 0 or null.',
        ),
        ("{test_step: [1]}", "eval.choose.test_step: no such key of algo; did you mean eval.choose.test_steps?"),
        ("3", "eval.choose=3: must be a mapping"),
    ):
        with pytest.raises(UsageError) as caught:
            merge(config, [f"eval.choose={typed}"], ["eval"])
        (problem,) = caught.value.problems
        assert problem.startswith(said)
    config["algo"] = {"name": "elsewhere", "strange": 3}
    assert merge(config, ["eval.choose={strange: [4]}"], ["eval"])["eval"]["choose"] == {"strange": [4]}


def test_merge_accepts_a_run_whose_options_are_not_here(toy: Path) -> None:
    config = compose(["data=toy"], toy)
    config["algo"] = {"name": "elsewhere", "strange": 3}
    assert merge(config, ["algo.strange=4"], ["algo"])["algo"] == {"name": "elsewhere", "strange": 4}
