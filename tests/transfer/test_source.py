"""A source that is trained in the same command, what transfer gained, and the choice of source and strategy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metamtl.data.fewer import with_labels
from metamtl.errors import UsageError
from metamtl.runs.folder import RunFolder
from metamtl.trainer import gains
from metamtl.trainer.gains import labels_to_reach
from metamtl.transfer.transferability import h_score, leep, logme
from tests.transfer.made import DIGITS, families_of, terms_of, trained, view_of

SPEC = "transfer.source={data: digits, set: {data: {target: closed, components: 6}}}"


@pytest.fixture(autouse=True)
def _no_label_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gains, "plot_labels", lambda run, curve, metric: None)


def labelled(folder: Path) -> list[str]:
    """The runs of a folder by what their ids end with."""
    return sorted(path.name.partition("-")[2].partition("-")[2] for path in folder.glob("*"))


def test_a_source_is_trained_first_and_found_again(tmp_path: Path) -> None:
    options = [*DIGITS, "transfer=finetune", SPEC, "trainer.steps=2"]
    first, second = trained(tmp_path, *options), trained(tmp_path, *options, "seed=0", "label=again")
    sources = [RunFolder.open(run).config()["transfer"]["source"] for run in (first, second)]
    assert sources[0] == sources[1] and RunFolder.open(Path(sources[0])).config()["data"]["target"] == "closed"
    assert labelled(tmp_path) == ["again", "joint-digits-s0", "source-s0"]


def test_a_source_that_is_misspelt_is_refused_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"transfer\.source: data\.tarket: no such key"):
        trained(tmp_path, *DIGITS, "transfer=finetune", "transfer.source={data: digits, set: {data: {tarket: odd}}}")


def test_what_transfer_gained_is_measured_on_equal_examples(tmp_path: Path) -> None:
    options = [*DIGITS, "transfer=finetune", SPEC, "trainer.steps=3", "data.labels=20", "budgets=[10,20]"]
    run = trained(tmp_path, *options, "references=auto")
    result = json.loads((run / "result.json").read_text())
    found, own = result["references"], result["test"]["accuracy"]["mean"]
    assert found["transfer"]["mean"] == own
    assert found["transfer_ratio"] == pytest.approx(own / found["scratch"]["mean"])
    assert found["improvement"]["mean"] == pytest.approx(own - found["scratch"]["mean"], abs=1e-9)
    assert found["negative_transfer"]["gap"] == pytest.approx(max(0.0, found["scratch"]["mean"] - own), abs=1e-9)
    worse = found["negative_transfer"]
    assert 0 <= worse["low"] <= worse["rate"] <= worse["high"] <= 1
    assert found["domain_gap"] is None  # no head of the source's predicts the target
    assert set(found["step_ms"]) == {"transfer", "scratch"} and min(found["step_ms"].values()) > 0
    assert [(point["labels"], point["val_labels"]) for point in found["labels"]["curve"]] == [(10, 10), (20, 20)]
    assert result["data"]["examples"]["val"] == 20
    assert found["labels"]["curve"][1]["scratch"] == found["scratch"]
    wanted = ["joint-digits-s0", "random_init-s0", "scratch-10-s0", "scratch-s0", "source-s0"]
    assert labelled(tmp_path) == [*wanted, "transfer-10-s0"]


def test_the_source_alone_is_no_reference_over_a_head_drawn_at_random(tmp_path: Path) -> None:
    """SPEC's question has two answers, and the target's ten: nothing of the source tells them apart."""
    options = [*DIGITS, "transfer=finetune", SPEC, "trainer.steps=2", "references=auto"]
    found = json.loads((trained(tmp_path / "ten", *options) / "result.json").read_text())["references"]
    assert found["source_only"] is None
    assert found["source_only_note"] == "the source has no head for the target's outputs"
    assert "source_only-s0" not in labelled(tmp_path / "ten")
    run = trained(tmp_path / "two", *options, "data.target=odd")
    fitting = json.loads((run / "result.json").read_text())
    assert fitting["references"]["source_only_note"] == "with the source's head"
    assert 0 <= fitting["references"]["source_only"]["mean"] <= 1
    source = Path(RunFolder.open(run).config()["transfer"]["source"])
    here = json.loads((source / "result.json").read_text())["test"]["accuracy"]["mean"]
    gap = fitting["references"]["domain_gap"]
    assert gap["mean"] == pytest.approx(here - fitting["references"]["source_only"]["mean"]) and gap["ci95"] > 0


def test_several_sources_have_no_reference_of_their_own(source: Path, tmp_path: Path) -> None:
    chosen = ["transfer=soup", f"transfer.source=[{source},{source}]", "references=auto", "trainer.steps=1"]
    found = json.loads((trained(tmp_path, *DIGITS, *chosen) / "result.json").read_text())["references"]
    assert found["source_only"] is None and found["source_only_note"] == "several sources are no one network"


def test_labels_to_reach_is_the_smallest_budget_that_does() -> None:
    curve = [{"labels": n, "scratch": {"mean": m}} for n, m in ((10, 0.3), (20, 0.6), (40, 0.5))]
    assert labels_to_reach(curve, 0.5, "scratch", lower=False) == 20
    assert labels_to_reach(curve, 0.9, "scratch", lower=False) is None
    assert labels_to_reach(curve, 0.35, "scratch", lower=True) == 10


def test_a_figure_that_is_not_reached_is_said_in_words() -> None:
    some = {"mean": 0.5, "ci95": 0.1, "episodes": 9}
    reach = {"figure": 0.55, "transfer": None, "scratch": 50}
    record = {"improvement": some, "transfer_ratio": 1.0, "metric": "accuracy", "random_init": some}
    labels = {"curve": [{"val_labels": 50}], "reach": reach}
    said = gains._said({**record, "source_only": None, "source_only_note": "several sources", "labels": labels})
    assert "labels to reach 55.00%: never with transfer, 50 without" in said


def test_fewer_labels_are_even_and_within_more() -> None:
    y = np.array([0] * 50 + [1] * 30 + [2] * 20)
    splits: dict[Any, Any] = {"train": np.arange(100), "val": np.arange(10, 40), "test": np.arange(0)}
    few, more = (with_labels(splits, y, count, None, 3)["train"] for count in (9, 40))
    assert np.bincount(y[few]).tolist() == [3, 3, 3] and set(few) <= set(more)
    assert with_labels(splits, y, None, None, 3)["train"] is splits["train"]
    with pytest.raises(UsageError, match="there are 100 training examples"):
        with_labels(splits, y, 101, None, 3)


def test_weights_are_selected_on_as_many_labels_as_there_are_to_train_on() -> None:
    y = np.array([0, 1] * 100)
    splits: dict[Any, Any] = {"train": np.arange(100), "val": np.arange(100, 160), "test": np.arange(160, 200)}
    found = with_labels(splits, y, 10, None, 3)
    assert np.bincount(y[found["val"]]).tolist() == [5, 5] and set(found["val"]) <= set(splits["val"])
    assert {split: len(items) for split, items in with_labels(splits, y, 90, None, 3).items()} == {
        **{"train": 90, "val": 60},
        "test": 40,
    }
    assert len(with_labels(splits, y, 10, 4, 3)["val"]) == 4 and len(with_labels(splits, y, None, 4, 3)["val"]) == 4
    with pytest.raises(UsageError, match=r"data\.val_labels=61: there are 60 validation examples"):
        with_labels(splits, y, 10, 61, 3)


def test_auto_takes_the_best_of_its_trials_and_says_why(source: Path, tmp_path: Path) -> None:
    options = [*DIGITS, "data.labels=50", "transfer=auto", f"transfer.source=[{source}]", "trainer.steps=4"]
    options += ["transfer.auto.candidates=[finetune,linear_probe]", "transfer.auto.trial_steps=2"]
    run = trained(tmp_path, *options)
    record = json.loads((run / "result.json").read_text())["transfer"]["auto"]
    best = record["trials"][0]
    assert best["validation"] == max(trial["validation"] for trial in record["trials"]) and len(record["trials"]) == 2
    assert best["strategy"] in record["why"] and set(record["scores"][str(source)]) == {"logme", "h_score", "leep"}
    assert RunFolder.open(run).config()["transfer"][best["strategy"]]["name"] == best["strategy"]


def test_auto_needs_sources_that_fit(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="transfer=auto needs sources"):
        trained(tmp_path, *DIGITS, "transfer=auto")
    with pytest.raises(UsageError, match="ranks none of the sources"):
        trained(tmp_path, *DIGITS, "data.components=7", "transfer=auto", f"transfer.source={source}")
    with pytest.raises(UsageError, match="there is no strategy fine"):
        trained(tmp_path, *DIGITS, "transfer=auto", f"transfer.source={source}", "transfer.auto.candidates=[fine]")
    with pytest.raises(UsageError, match="rules learns from no source: leave it out"):
        trained(tmp_path, *DIGITS, "transfer=auto", f"transfer.source={source}", "transfer.auto.candidates=[rules]")


def test_auto_goes_on_without_a_source_or_a_strategy_that_does_not_suit(source: Path, tmp_path: Path) -> None:
    other = trained(tmp_path / "other", *DIGITS, "data.components=7", "trainer.steps=2")
    torn = tmp_path / "torn.pt"
    torn.write_bytes(b"torn")
    sources = [str(tmp_path / "nothing"), str(torn), str(other), str(source)]
    options = [*DIGITS, "data.labels=50", "transfer=auto", f"transfer.source=[{','.join(sources)}]", "trainer.steps=2"]
    options += ["transfer.auto.candidates=[attention,finetune]", "transfer.auto.trial_steps=2"]
    run = trained(tmp_path / "target", *options)
    record = json.loads((run / "result.json").read_text())["transfer"]["auto"]
    assert {path: sorted(found) for path, found in record["scores"].items()} == {
        **{path: ["refused"] for path in sources[:3]},
        sources[3]: ["h_score", "leep", "logme"],
    }
    said = [record["scores"][path]["refused"] for path in sources[:3]]
    assert "is no run" in said[0] and "no knowledge of metamtl's" in said[1] and "inputs are [7]" in said[2]
    assert [trial["strategy"] for trial in record["trials"]] == ["finetune"]
    (refused,) = record["refused"]
    assert refused["strategy"] == "attention" and "0 blocks" in refused["refused"]


def test_leep_of_a_source_that_knows_is_zero_and_of_one_that_does_not_is_the_entropy() -> None:
    labels = torch.arange(20) % 4
    assert leep(torch.eye(4)[labels], labels) == pytest.approx(0, abs=1e-9)
    assert leep(torch.full((20, 3), 1 / 3), labels) == pytest.approx(-math.log(4), rel=1e-6)


def test_the_h_score_of_classes_that_are_all_there_is_counts_directions() -> None:
    labels = torch.arange(30) % 3
    assert h_score(torch.eye(3, dtype=torch.float64)[labels], labels) == pytest.approx(2.0, rel=1e-6)
    noise = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0))
    assert h_score(noise, torch.arange(3000) % 3) < 0.01


def test_logme_is_the_largest_evidence_of_the_marginal_normal() -> None:
    """Against the density of y under N(0, X X^T / alpha + I / beta), over a grid of both precisions."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    labels = (x[:, 0] + 0.3 * torch.randn(12, generator=generator, dtype=torch.float64) > 0).long()
    best = []
    for one in (0, 1):
        target, logs = (labels == one).double(), []
        for a in torch.linspace(-4, 8, 61).exp():
            for b in torch.linspace(-2, 8, 51).exp():
                covariance = x @ x.T / a + torch.eye(12, dtype=torch.float64) / b
                normal = torch.distributions.MultivariateNormal(torch.zeros(12, dtype=torch.float64), covariance)
                logs.append(float(normal.log_prob(target)))  # type: ignore[no-untyped-call]
        best.append(max(logs) / 12)
    found = logme(x, labels)
    assert found == pytest.approx(sum(best) / 2, abs=5e-3) and found >= sum(best) / 2 - 1e-6


def test_class_means_carry_what_a_source_says_of_each_class(source: Path, tmp_path: Path) -> None:
    chosen = ["transfer=class_kd", f"transfer.source={source}", "transfer.class_kd.temperature=2.0"]
    parts = families_of(tmp_path, *DIGITS, *chosen).first
    means = terms_of(parts)["class_kd"].get_buffer("means")
    torch.testing.assert_close(means.sum(1), torch.ones(10, dtype=torch.float64))
    assert means[7].tolist() == pytest.approx([0.1] * 10)  # the source has no sevens
    weights = dict(parts.learner.network.named_parameters())
    view = view_of(parts, weights)
    own = torch.log_softmax(view.outputs / 2, 1)
    wanted = means[view.examples.labels]
    apart = (wanted * (wanted.log() - own)).sum(1)
    torch.testing.assert_close(terms_of(parts)["class_kd"].value(view), 4 * apart.mean())
