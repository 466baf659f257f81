"""Every experiment that conf/ offers trains two steps and ends with a finished run folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metamtl.config.compose import compose
from metamtl.config.library import Library
from metamtl.data.pretrained import model_folder
from metamtl.runs.result import read_result
from metamtl.trainer.run import train_run
from tests.algos.suite import UNTRAINED

EXPERIMENTS = sorted(name for name in Library.load().groups["experiment"] if name != "none")
TEXTS = ("clinc150", "snips", "fewrel", "crossner")
# data sets that the default suite does not download
NEEDS_FILES = {"omniglot", "cifar_fs", "digit_domain", "digit_shift", "multimnist", "table", "pets", "fsdd", *TEXTS}
QUICK = {"omniglot/protonet_5w1s"}  # of those on real data, what the default suite runs
SLOW = {"multitask/five_tables", "multitask/multimnist_noise"}  # like others that it does run, and longer
SLOW |= {"fewshot/clinc150_minilm", "fewshot/crossner", "fewshot/fewrel", "multitask/spoken_digits", "multitask/tables"}
SLOW |= {"multitask/pets", "multitask/multimnist", "transfer/crossmodal_digits", "continual/split_digits"}
SLOW |= {"transfer/alphabets", "transfer/intents", "continual/permuted_digits", "continual/split_digits_told"}


def _on_real_data(name: str) -> bool:
    return name.partition("/")[0] in NEEDS_FILES


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW or (_on_real_data(name) and name not in QUICK)))
        for name in EXPERIMENTS
    ],
)
def test_trains_two_steps(experiment: str, tmp_path: Path, cache: Path) -> None:
    data = os.environ.get("METAMTL_TEST_DATA")
    small = ["trainer.steps=2", "trainer.meta_batch=2", "trainer.task.ways=5", "backbone.width=8"]
    small += ["trainer.batch_size=8", "eval.episodes=4", "eval.val_episodes=4", "eval.gap_episodes=0"]
    small += ["trainer.pictures=2"]
    base = compose([f"experiment={experiment}"])
    stages = base["trainer"]["stages"]
    small += [f"++trainer.stages.{stage}.steps=2" for stage in stages]
    if base["data"]["name"] in NEEDS_FILES and not data:
        pytest.skip(f"set METAMTL_TEST_DATA to a folder with {base['data']['name']}")
    if base["backbone"]["name"] == "hf" and model_folder(base["backbone"]["model"]) is None:
        pytest.skip(f"no package carries {base['backbone']['model']}")
    if base["backbone"]["name"] != "conv4":
        small.remove("backbone.width=8")
    places = [f"paths.outputs={tmp_path}", f"paths.cache={cache}", *([f"paths.data={data}"] if data else [])]
    if base["transfer"].get("source"):
        small += ["transfer.source.set.trainer.steps=2", "references=none", "budgets=[]"]
    config = compose([f"experiment={experiment}", *small, *places])
    run = train_run(config, ["metamtl", "train", f"experiment={experiment}"])
    assert run is not None and run.meta()["status"] == "completed"
    trained = (len(base["sequence"]) or 1 + len(stages)) if base["algo"]["name"] not in UNTRAINED else 0
    assert read_result(run)["train"]["steps"] == 2 * trained
    drawn = "transfer_matrix.png" if base["sequence"] else "curves.png"
    assert (run.plots / drawn).stat().st_size > 0


def test_the_new_task_is_none_of_those_that_its_source_learns() -> None:
    config = compose(["experiment=multitask/digits4_new_task", "seed=3"])
    families = config["transfer"]["source"]["config"]["families"]
    assert families.keys() == compose(["experiment=multitask/digits4"])["families"].keys()
    asked = {one["config"]["data"]["target"] for one in families.values()}
    assert asked == {"digit", "odd", "large", "prime"} and config["data"]["target"] == "closed"
    assert config["transfer"]["source"]["config"]["seed"] == 3
