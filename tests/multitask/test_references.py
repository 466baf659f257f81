"""Single-task references: found or trained, compared on identical episodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.comparison.collect import collect
from metamtl.comparison.delta import worse_together
from metamtl.config.compose import compose
from metamtl.errors import UsageError
from metamtl.runs.config_file import write_config
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import read_episodes, read_result, summary, write_result
from metamtl.trainer.references import add_references, compared
from metamtl.trainer.run import train_run
from tests.comparison.made import finished, noisy, started
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
    assert record["mean_rank"] == np.mean([1 + (change < 0) for change in changes])
    (run_of_both,) = [one for one in collect([tmp_path]) if one.path == together.path]
    assert run_of_both.figures["delta_m"]["mean"] == record["delta_m"]["mean"]
    assert worse_together(run_of_both.result or {}) == dict(
        zip(("low", "high"), [change < 0 for change in changes], strict=True)
    )


def test_references_of_before_a_key_are_found(tmp_path: Path) -> None:
    found = run(tmp_path)
    for name in ("low-alone-s0", "high-alone-s0"):
        config = found[name].config()
        del config["trainer"]["fused"]
        write_config(found[name].config_file, config)
    run(tmp_path, "weighting=uncertainty")
    names = [path.name for path in tmp_path.iterdir()]  # a second run of the same second bears a number
    assert (len(names), sum("-alone-s0" in name for name in names)) == (4, 2)


def test_the_time_of_an_update_is_told_beside_those_alone_and_of_equal_weights(tmp_path: Path) -> None:
    found = run(tmp_path, "weighting=auto_lambda", "weighting.primary=[low]")
    record: Any = read_result(found["maml-low-high-s0"])["references"]
    times = {name: read_result(one)["train"]["step_ms"] for name, one in found.items()}
    alone_ms = {name: times[f"{name}-alone-s0"] for name in ("low", "high")}
    assert record["step_ms"] == {"together": times["maml-low-high-s0"], "alone": alone_ms}
    assert record["step_ratio"] > 1.2  # it makes the families' gradients again, after a step


def test_equal_families_share_the_mean_rank_and_unmeasured_updates_have_no_ratio(tmp_path: Path) -> None:
    one, other = noisy(0.8, 0), noisy(0.5, 1)
    episodes = {"road/accuracy": one, "lane/accuracy": other + 0.1}
    record = compared(together(road=0.8, lane=0.6), episodes, alone(tmp_path, road=one, lane=other))
    assert (record["mean_rank"], record["step_ratio"]) == (1.25, None)


def alone(tmp_path: Path, **figures: Any) -> dict[str, RunFolder]:
    """Family -> a finished run of it alone with these accuracies of forty test episodes."""
    return {name: finished(tmp_path, seed=seed, accuracy=values) for seed, (name, values) in enumerate(figures.items())}


def together(**means: float) -> Any:
    """The result of a run of several families with these accuracies."""
    return {
        "families": {
            name: {"metric": "accuracy", "episodes_id": "id-40", "test": {"accuracy": {"mean": mean}}}
            for name, mean in means.items()
        }
    }


def test_the_gap_of_each_family_is_what_it_loses_on_the_same_episodes(tmp_path: Path) -> None:
    one, other = noisy(0.8, 0), noisy(0.5, 1)
    episodes = {"road/accuracy": noisy(0.6, 2), "lane/accuracy": noisy(0.7, 3)}
    record = compared(together(road=0.6, lane=0.7), episodes, alone(tmp_path, road=one, lane=other))
    harm, lost = record["negative_transfer"], summary(one - episodes["road/accuracy"])
    assert harm["families"] == ["road"]
    road = {"gap": pytest.approx(lost["mean"]), "ci95": pytest.approx(lost["ci95"]), "sure": True}
    gained = summary(episodes["lane/accuracy"] - other)
    assert harm["gaps"] == {"road": road, "lane": {"gap": 0.0, "ci95": pytest.approx(gained["ci95"]), "sure": False}}


def test_a_family_whose_figure_alone_is_0_has_no_part_in_delta_m(tmp_path: Path) -> None:
    base, none = noisy(0.5, 1), np.zeros(40)
    episodes = {"road/accuracy": base + 0.1, "lane/accuracy": np.full(40, 0.01)}
    record = compared(together(road=0.6, lane=0.01), episodes, alone(tmp_path / "one", road=base, lane=none))
    assert record["delta_m"]["mean"] == pytest.approx(0.1 / base.mean())
    assert (record["left_out"], list(record["changes"])) == (["lane"], ["road"])
    assert (record["negative_transfer"]["rate"], list(record["negative_transfer"]["gaps"])) == (0.0, ["road", "lane"])
    record = compared(together(lane=0.01), episodes, alone(tmp_path / "other", lane=none))
    assert (record["delta_m"], record["left_out"], record["changes"]) == (None, ["lane"], {})


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (
            0.0,
            0.5,
            "Delta m against each alone +50.00% ± 0.00 (higher is better); mean rank 1.50 of 2; worse together: low",
        ),
        (
            0.0,
            0.0,
            "Delta m against each alone none; mean rank 2.00 of 2; worse together: low (by 0.2500 ± 0.0000 mse), "
            "high (by 0.2500 ± 0.0000 mse)",
        ),
    ],
)
def test_what_delta_m_leaves_out_is_said_and_written(tmp_path: Path, low: float, high: float, said: str) -> None:
    """`low` and `high`: the errors alone, of families whose error together is 0.25."""
    errors = {"low": low, "high": high}

    def trained(config: Mapping[str, Any]) -> RunFolder:
        values = np.full(10, errors[config["label"].partition("-")[0]])
        run = started(tmp_path, changes=config)
        write_result(run, {"test": {"mse": summary(values)}, "episodes_id": "same"}, {"mse": values})
        run.finish("completed")
        return run

    config = compose([*SMALL, f"paths.outputs={tmp_path}"])
    run, values = started(tmp_path, changes=config), np.full(10, 0.25)
    families: Any = {
        name: {"metric": "mse", "episodes_id": "same", "test": {"mse": summary(values)}} for name in errors
    }
    write_result(run, {"families": families}, {f"{name}/mse": values for name in errors})
    line = add_references(run, config, trained, lambda _: None)
    assert line.startswith(said)
    none = [name for name, value in errors.items() if not value]
    assert line.endswith(f". Delta m leaves out {', '.join(none)}: the figure alone is 0")
    record: Any = read_result(run)["references"]
    assert (record["left_out"], record["delta_m"] is None) == (none, not high)


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


@pytest.mark.parametrize("named", [[], ["families.a={data: sinusoid}"]], ids=["unnamed", "named"])
def test_one_family_has_no_reference(named: list[str], tmp_path: Path) -> None:
    words = ["algo=maml", "data=sinusoid", "references=auto", f"paths.outputs={tmp_path}", *named]
    with pytest.raises(UsageError, match="this run has one family"):
        train_run(compose(words), ["metamtl"])
    assert not list(tmp_path.iterdir())
