"""What families cost and withstand together beside each alone, in the references of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metamtl.runs.result import read_result
from metamtl.trainer.beside import robustness_beside
from tests.comparison.made import finished
from tests.multitask.test_references import run


def test_both_are_told_beside_those_of_the_references(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(tmp_path, "eval.robustness=4")
    whole: Any = {name: read_result(one) for name, one in found.items()}
    together, alone = whole["maml-low-high-s0"], {name: whole[f"{name}-alone-s0"] for name in ("low", "high")}
    cost, robust = (together["references"][key] for key in ("cost", "robustness"))
    parameters = {name: one["model"]["parameters"] for name, one in alone.items()}
    assert cost["parameters"] == {
        "together": together["model"]["parameters"],
        "alone": parameters,
        "alone_sum": sum(parameters.values()),
    }
    assert cost["parameters"]["together"] < cost["parameters"]["alone_sum"]
    for key in ("flops", "latency_ms", "peak_mb"):
        assert cost[key]["together"] == {name: one["cost"][key] for name, one in together["families"].items()}
        assert cost[key]["alone"] == {name: one["cost"][key] for name, one in alone.items()}
        sums = {side: cost[key].get(f"{side}_sum") for side in ("together", "alone")}
        assert sums == {side: None if key == "peak_mb" else sum(cost[key][side].values()) for side in sums}
    for name, one in alone.items():
        points = robust[name]["noise"]["points"]
        for side, record in (("together", together["families"][name]), ("alone", one)):
            figures = [{"severity": point["severity"], **point[side]} for point in points]
            assert figures == record["robustness"]["noise"] and len(figures) == 6
            rises = [point["mean"] - figures[0]["mean"] for point in figures[1:]]
            assert robust[name]["noise"]["drop"][side] == pytest.approx(sum(rises) / 5)  # of an error, that it rises
    said = capsys.readouterr().out
    assert f"Cost together (and of all alone): {cost['parameters']['together']:,} parameters (" in said
    assert f"{cost['flops']['together_sum']:,} FLOPs ({cost['flops']['alone_sum']:,})" in said
    assert "Lost under disturbances, together (and alone): low " in said


def test_a_cost_that_a_reference_lacks_is_found_by_its_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(tmp_path, "eval.cost=false")
    whole: Any = {name: read_result(one) for name, one in first.items()}
    assert whole["maml-low-high-s0"]["references"]["cost"].keys() == {"parameters"}
    assert "cost" not in whole["low-alone-s0"]
    for kept in first["high-alone-s0"].checkpoints.glob("*.pt"):
        kept.unlink()
    again = run(tmp_path, "label=second")
    assert again.keys() - first.keys() == {"second"}  # its references are those that were there
    result: Any = read_result(again["second"])
    cost = result["references"]["cost"]
    assert cost["not_known"] == ["high"]
    low = result["families"]["low"]["cost"]["flops"]  # of the family alone, as all of its layers are shared
    assert cost["flops"]["alone"] == {"low": low} and low > 0
    assert cost["flops"]["together_sum"] == cost["flops"]["alone_sum"] == low
    assert "Not known, as its weights cannot be had: what high costs alone" in capsys.readouterr().out


def test_a_share_that_falls_is_lost_and_what_one_side_lacks_is_left_out(tmp_path: Path) -> None:
    def points(*means: float) -> list[dict[str, Any]]:
        return [{"severity": float(n), "mean": mean, "ci95": 0.0, "episodes": 9} for n, mean in enumerate(means)]

    alone = {"noise": points(0.8, 0.7, 0.5), "blur": points(0.8, 0.8)}
    reference = finished(tmp_path, facts={"robustness": alone})
    record = {"metric": "accuracy", "robustness": {"noise": points(0.9, 0.9, 0.8), "rotation": points(0.9, 0.1)}}
    together: Any = {"families": {"road": record, "lane": {"metric": "accuracy"}}}
    found = robustness_beside(together, {"road": reference, "lane": reference})
    assert found.keys() == {"road"} and found["road"].keys() == {"noise"}
    assert found["road"]["noise"]["drop"] == pytest.approx({"together": 0.05, "alone": 0.2})
