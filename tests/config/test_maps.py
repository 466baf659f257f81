"""Keys of maps are set as one types them, without a `+`, in one run and in several, and checked as others are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metamtl.cli import main
from metamtl.config.compose import compose
from metamtl.errors import UsageError
from tests.commands.stub import run
from tests.config.options import write

DIGITS = "experiment=multitask/digits4"
CASCADE = (DIGITS, "sharing=cascade")
STATIC = (DIGITS, "weighting=static")
OWN = """about:
  summary: Made up
  keys:
    words: map; which
    source: path? | map; where from
name: static
words:
  here: 1
source: null
"""


def trained(folder: Path, *words: str) -> list[dict[str, Any]]:
    """The configs that reached the trainer, by the whole way of the command line."""
    done = run(folder, "train", *words, "paths.outputs=.")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [json.loads(line)["config"] for line in (folder / "calls.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("plus", ["", "+", "++"])
@pytest.mark.parametrize(
    ("words", "typed", "section", "key", "wanted"),
    [
        (CASCADE, "sharing.feeds={odd: digit}", "sharing", "feeds", {"odd": "digit"}),
        (CASCADE, "sharing.feeds.odd=digit", "sharing", "feeds", {"odd": "digit"}),
        (STATIC, "weighting.weights={digit: 2}", "weighting", "weights", {"digit": 2}),
        (("algo=baseline",), "trainer.stages.pretrain.steps=7", "trainer", "stages", {"pretrain": {"steps": 7}}),
        (("algo=maml",), "eval.choose.test_steps=[1,3]", "eval", "choose", {"test_steps": [1, 3]}),
    ],
)
def test_a_key_of_a_map_is_set_as_typed(
    words: tuple[str, ...], typed: str, section: str, key: str, wanted: dict[str, Any], plus: str
) -> None:
    assert compose([*words, plus + typed])[section][key] == wanted


def test_families_and_a_source_are_named_as_typed() -> None:
    config = compose(["algo=maml", "data=sinusoid", "families.low={data: sinusoid}", "families.high.data=functions"])
    assert {name: one["data"] for name, one in config["families"].items()} == {"low": "sinusoid", "high": "functions"}
    source = compose(["transfer=finetune", "transfer.source.data=omniglot"])["transfer"]["source"]
    assert source["config"]["data"]["name"] == "omniglot"  # null in the option's file


def test_maps_of_a_users_own_option_are_open_too(tmp_path: Path) -> None:
    folder = write(tmp_path, {"weighting/mine.yaml": OWN})
    own = compose([DIGITS, "weighting=mine", "weighting.words.there=2", "weighting.source.data=x"], folder)["weighting"]
    assert own == {"name": "static", "words": {"here": 1, "there": 2}, "source": {"data": "x"}}
    with pytest.raises(UsageError) as refused:
        compose([DIGITS, "weighting=mine", "weighting.wordz=2", "weighting.words=2"], folder)
    assert refused.value.problems == (
        "weighting.words=2: must be a mapping.",
        "weighting.wordz: no such key; did you mean weighting.words?",
    )


@pytest.mark.parametrize(("weight", "shown"), [("two", '"two"'), ("nan", "NaN"), ("inf", "Infinity"), ("-1", "-1")])
def test_a_value_of_a_map_is_refused_as_those_of_keys_are(
    weight: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *STATIC, f"weighting.weights={{digit: {weight}}}"]) == 2
    said = f'weighting.weights={{"digit": {shown}}}: must be a mapping, each value a number >= 0.\n'
    assert capsys.readouterr().err == said


def test_all_problems_are_told_beside_a_key_of_a_map() -> None:
    with pytest.raises(UsageError) as refused:
        compose([*STATIC, "weighting.weights={digit: 2}", "trainer.step=3", "seed=-1"])
    assert refused.value.problems == (
        "trainer.step: no such key; did you mean trainer.steps?",
        "seed=-1: must be an integer >= 0.",
    )


def test_the_command_line_takes_maps_as_typed(tmp_path: Path) -> None:
    (config,) = trained(tmp_path, *CASCADE, "sharing.feeds={odd: digit}")
    assert config["sharing"]["feeds"] == {"odd": "digit"}


def test_a_multirun_takes_maps_as_typed(tmp_path: Path) -> None:
    """Beside an option that is swept, and with values of the map itself swept."""
    weights = "weighting.weights={digit: 2},{odd: 3}"
    configs = trained(tmp_path, "-m", *STATIC, weights, "sharing=cascade,cascade", "sharing.feeds={odd: digit}")
    assert [config["weighting"]["weights"] for config in configs] == [
        {"digit": 2},
        {"digit": 2},
        {"odd": 3},
        {"odd": 3},
    ]
    assert all(config["sharing"]["feeds"] == {"odd": "digit"} for config in configs)
