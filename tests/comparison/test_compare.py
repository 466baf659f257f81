"""The comparison as a whole: baselines, tests, corrections and the sentences a reader needs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from metamtl.comparison.collect import collect
from metamtl.comparison.compare import Comparison, compare
from metamtl.comparison.groups import Group, grouped
from metamtl.comparison.sorting import sorted_by
from metamtl.comparison.statistics import holm, paired_test
from metamtl.comparison.where import group_named
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.files import read_json, write_json
from metamtl.runs.result import summary
from tests.comparison.made import TRANSDUCTIVE, finished, noisy, started


def compared(outputs: Path, metric: str | None = None, baseline: str | None = None) -> Comparison:
    groups = grouped(collect([outputs]))
    return compare(groups, metric, group_named(groups, baseline) if baseline else None)


def names(comparison: Comparison) -> list[list[str]]:
    return [[row.group.name for row in section.rows] for section in comparison.sections]


def test_the_baseline_is_the_best_on_validation_and_not_on_test(tmp_path: Path) -> None:
    finished(tmp_path, "maml", accuracy=noisy(0.9, 0), validation=0.7)
    finished(tmp_path, "anil", accuracy=noisy(0.8, 1), validation=0.8)
    comparison = compared(tmp_path)
    (section,) = comparison.sections
    assert names(comparison) == [["maml", "anil"]]  # the best first
    assert section.baseline is not None
    assert section.baseline.name == "anil"
    assert comparison.notes[0] == "Tested against anil, the best on validation (accuracy 80.00%)."
    assert [row.baseline for row in section.rows] == [False, True]


def test_less_is_better_where_it_is(tmp_path: Path) -> None:
    for algo, loss in (("maml", 0.3), ("anil", 0.1)):
        finished(tmp_path, algo, facts={"best": {"step": 1, "val/loss": loss}}, accuracy=noisy(1 - loss, 0))
    comparison = compared(tmp_path, "loss")
    assert names(comparison) == [["anil", "maml"]]
    assert comparison.sections[0].baseline is comparison.sections[0].rows[0].group


def test_both_intervals_and_the_pairs_of_means_over_seeds(tmp_path: Path) -> None:
    figures = {algo: [noisy(mean, 10 * place + seed) for seed in range(3)] for place, (algo, mean) in enumerate(
        {"maml": 0.9, "anil": 0.8}.items()
    )}  # fmt: skip
    for algo, by_seed in figures.items():
        for seed, accuracy in enumerate(by_seed):
            finished(tmp_path, algo, seed, accuracy=accuracy, validation=float(algo == "anil"))
    row = compared(tmp_path).rows[0]
    means = [float(values.mean()) for values in figures["maml"]]
    assert row.figures.mean == pytest.approx(np.mean(means))
    assert row.figures.seed_interval == pytest.approx(4.302653 * np.std(means, ddof=1) / math.sqrt(3), rel=1e-6)
    over = np.mean(figures["maml"], axis=0)
    assert row.figures.episode_interval == pytest.approx(summary(over)["ci95"])
    assert row.cost.seconds == 11.0
    assert row.test is not None
    expected = paired_test(over, np.mean(figures["anil"], axis=0))
    assert (row.test.difference, row.test.p_t, row.test.pairs) == (expected.difference, expected.p_t, 40)


def test_one_run_has_the_interval_of_its_result_and_none_over_seeds(tmp_path: Path) -> None:
    finished(tmp_path, accuracy=noisy(0.9, 0))
    (row,) = compared(tmp_path).rows
    assert row.figures.episode_interval == summary(noisy(0.9, 0))["ci95"]
    assert math.isnan(row.figures.seed_interval)


def test_all_tests_of_a_comparison_are_corrected_together(tmp_path: Path) -> None:
    for place, algo in enumerate(["maml", "anil", "protonet", "fomaml"]):
        finished(tmp_path, algo, accuracy=noisy(0.8 + 0.02 * place, place), validation=place / 10)
    for place, algo in enumerate(["boil", "reptile"]):
        finished(tmp_path, algo, accuracy=noisy(0.8 + 0.03 * place, 9 + place, 50), validation=place / 10)
    comparison = compared(tmp_path)
    assert [len(section.rows) for section in comparison.sections] == [4, 2]
    tests = [row.test for row in comparison.rows if row.test]
    assert len(tests) == 4
    assert [test.p_t_holm for test in tests] == holm([test.p_t for test in tests])
    assert [test.p_wilcoxon_holm for test in tests] == holm([test.p_wilcoxon for test in tests])


def test_what_is_not_comparable_stands_apart_with_a_sentence(tmp_path: Path) -> None:
    finished(tmp_path, "protonet", validation=0.9)
    finished(tmp_path, "anil", validation=0.8)
    finished(tmp_path, "maml", validation=1.0, facts={"transduction": TRANSDUCTIVE})
    comparison = compared(tmp_path)
    assert [sorted(section) for section in names(comparison)] == [["anil", "protonet"], ["maml"]]
    assert [row.test for row in comparison.sections[1].rows] == [None]
    (sentence,) = [note for note in comparison.notes if note.startswith("Not comparable")]
    assert sentence.startswith("Not comparable: maml with protonet: a prediction saw other things")
    assert sentence.endswith("`metamtl eval RUN eval.transductive=false`.")


def test_a_chosen_baseline_is_the_only_one(tmp_path: Path) -> None:
    for algo in ("maml", "anil"):
        finished(tmp_path, algo)
        finished(tmp_path, algo, changes={"eval.split": "val"}, facts={"split": "val", "episodes_id": "v"})
    comparison = compared(tmp_path, baseline="algo=anil,eval.split=val")
    assert [section.baseline and section.baseline.name for section in comparison.sections] == ["anil split=val", None]
    assert [row.test is not None for row in comparison.rows] == [
        not row.baseline and number < 2 for number, row in enumerate(comparison.rows)
    ]
    assert comparison.notes[0] == "Tested against anil split=val, as asked."


def test_without_validation_nothing_is_tested_until_a_baseline_is_named(tmp_path: Path) -> None:
    for algo in ("maml", "anil"):
        finished(tmp_path, algo, validation=None)
    assert compared(tmp_path).notes == (
        "Not tested, since none has a validation figure of accuracy: maml, anil. Choose a baseline.",
    )
    assert any(row.test for row in compared(tmp_path, baseline="maml").rows)
    finished(tmp_path, "fomaml", validation=0.1)
    assert "Tested against fomaml, the best on validation of those that have a figure of it (accuracy 10.00%)." in (
        compared(tmp_path).notes
    )


def test_the_reader_is_warned(tmp_path: Path) -> None:
    finished(tmp_path, "maml", validation=0.9, accuracy=noisy(0.9, 0))
    other = finished(tmp_path, "anil", seed=0, accuracy=noisy(0.8, 1))
    finished(tmp_path, "anil", seed=1, accuracy=noisy(0.8, 2), facts={"normalisation": "running averages"})
    finished(tmp_path, "anil", seed=1, accuracy=noisy(0.8, 3))
    other.update_meta(device="cuda:0")
    finished(tmp_path, "sine", facts={"test": {"mse": summary(noisy(0.5, 0))}})
    assert compared(tmp_path).notes == (
        "Tested against maml, the best on validation (accuracy 90.00%).",
        "One seed: maml. The tests speak of these trained weights; training again may change more.",
        "Seconds and tasks a second were measured on different devices (cpu, cuda:0).",
        "Without a test figure of accuracy: sine.",
        "anil: of runs with the same seed the newest counts.",
    )


def test_tests_that_disagree_are_told(tmp_path: Path) -> None:
    base = np.full(40, 0.5)
    better = base + 0.01 + np.linspace(0, 0.001, 40)
    better[0] = 0.0  # one catastrophe takes the mean back
    finished(tmp_path, "maml", accuracy=base, validation=0.9)
    finished(tmp_path, "anil", accuracy=better)
    comparison = compared(tmp_path)
    (test,) = [row.test for row in comparison.rows if row.test]
    assert test.p_t > 0.05 > test.p_wilcoxon
    assert any(note.startswith("anil: the paired t test and the signed-rank test do not") for note in comparison.notes)


def test_figures_that_are_missing_or_no_numbers_make_no_test_and_say_so(tmp_path: Path) -> None:
    finished(tmp_path, "maml", validation=0.9)
    finished(tmp_path, "anil").episodes_file.unlink()
    broken = noisy(0.5, 0)
    broken[3] = math.nan
    finished(tmp_path, "fomaml", accuracy=broken)
    comparison = compared(tmp_path)
    assert [row.test for row in comparison.rows] == [None] * 3
    said = [note for note in comparison.notes if "is not tested" in note]
    assert len(said) == 2
    assert any("fomaml is not tested: Some episodes have no figure (NaN)" in note for note in said)
    assert names(comparison)[0][-1] == "fomaml"  # NaN comes last


def test_families_are_metrics_of_their_own_with_facts_of_their_own(tmp_path: Path) -> None:
    for algo, shift in (("maml", 0.0), ("anil", 0.1)):
        figures = noisy(0.5, 3) + shift
        families = {
            name: {"test": {"accuracy": summary(figures)}, "episodes_id": episodes, "transduction": "none"}
            for name, episodes in {"road": "same", "lane": f"of {algo}"}.items()
        }
        run = finished(tmp_path, algo, accuracy=figures)
        content = read_json(run.result_file)
        for key in ("test", "best", "episodes_id", "transduction"):
            del content[key]
        write_json(run.result_file, {**content, "families": families, "episodes_columns": ["loss", "road/accuracy"]})
    comparison = compared(tmp_path, baseline="algo=maml")
    assert comparison.metric == "road/accuracy"
    (test,) = [row.test for row in comparison.rows if row.test]
    assert test.difference == pytest.approx(0.1)
    other = compared(tmp_path, "lane/accuracy", baseline="algo=maml")
    assert [len(section.rows) for section in other.sections] == [1, 1]
    assert "other episodes (of anil against of maml)" in " ".join(other.notes)


def test_episodes_without_a_name_are_compared_with_none(tmp_path: Path) -> None:
    for algo in ("maml", "anil"):
        finished(tmp_path, algo, facts={"episodes_id": None})
    assert [len(section.rows) for section in compared(tmp_path).sections] == [1, 1]


def test_the_metric_is_the_one_that_was_selected_by(tmp_path: Path) -> None:
    finished(tmp_path)
    assert compared(tmp_path).metric == "accuracy"
    assert compared(tmp_path, "loss").metric == "loss"
    with pytest.raises(UsageError, match="acuracy: no run has this figure; did you mean accuracy"):
        compared(tmp_path, "acuracy")
    started(tmp_path / "only")
    with pytest.raises(MetamtlError, match="none of these runs is finished"):
        compared(tmp_path / "only")


def test_rows_are_sorted_within_their_sections(tmp_path: Path) -> None:
    for seed, rate in enumerate([0.4, None, 0.1, 0.2]):
        finished(tmp_path, seed=seed, changes=({} if rate is None else {"algo.inner_lr": rate}))
    comparison = compared(tmp_path)

    def rates(name: str) -> list[float | None]:
        return [row.group.settings.get("algo.inner_lr") for row in sorted_by(comparison, name).rows]

    assert rates("inner_lr") == [0.1, 0.2, 0.4, None]
    assert rates("-algo.inner_lr") == [0.4, 0.2, 0.1, None]
    assert rates("-seconds") == [0.2, 0.1, None, 0.4]  # later seeds took longer
    with pytest.raises(UsageError, match="did you mean seconds"):
        sorted_by(comparison, "secconds")


def test_groups_keep_their_identity(tmp_path: Path) -> None:
    """What a view holds on to: a group of the same call is found among the rows."""
    finished(tmp_path)
    groups: list[Group] = grouped(collect([tmp_path]))
    assert compare(groups).rows[0].group is groups[0]
