"""What is run, what is skipped and what goes on; and the table that comes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from metamtl.cli import main
from metamtl.commands import reproduce
from metamtl.config.compose import compose
from metamtl.reproduce.process import Jobs
from metamtl.reproduce.report import markdown
from metamtl.reproduce.rows import Workplace, carry_out, contradictions, remaining, run_of, share_of
from metamtl.reproduce.table import Table, TableRow
from tests.reproduce.made import ROWS, TABLE, Runner, finished_run

_OF_ONE_SEED = "Of rows of one seed these tests speak of the episodes alone: training again may change more."


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(TABLE, tmp_path / "out", ("seed=5", "trainer.device=cpu"))


def done(place: Workplace) -> Runner:
    runner = Runner()
    for row in place.table.rows:
        assert carry_out(place, row, runner) == []
    return runner


def test_a_row_is_measured_planned_and_run(place: Workplace) -> None:
    runner, row = Runner(), ROWS[3]
    assert carry_out(place, row, runner) == []
    measuring, training = runner.calls
    assert "trainer.log_every=1" in measuring and "trainer.steps=6" in measuring
    # 120 s of updates of 3 s, of a recipe of 2,000
    assert "trainer.steps=40" in training and training[-2] == "seed=0"
    assert training[1:3] == ["experiment=omniglot/protonet_5w1s", "task.queries=15"]
    assert share_of(place.folder(row)) == pytest.approx(0.02 * 2000 / 4200)


def test_finished_rows_are_skipped_and_stopped_ones_go_on(place: Workplace) -> None:
    done(place)
    again = Runner()
    for row in ROWS:
        assert remaining(place, row) == 0 and carry_out(place, row, again) == []
    assert again.calls == []
    run = run_of(place.folder(ROWS[2]) / "s0")
    assert run is not None
    run.finish("interrupted")
    assert remaining(place, ROWS[2]) == 1 and carry_out(place, ROWS[2], again) == []
    assert again.calls == [["resume", str(run.path)]]


def test_a_rows_length_is_settled_once(place: Workplace) -> None:
    """Seeds that come later, under another budget, train as long as the first."""
    carry_out(place, ROWS[3], Runner())
    more = Workplace(replace(TABLE, seeds=(0, 1)), place.out, place.overrides, minutes=30)
    runner = Runner()
    carry_out(more, ROWS[3], runner)
    (training,) = runner.calls
    assert "trainer.steps=40" in training and "seed=1" in training


def test_what_is_told_of_a_later_seed_is_its_plan(place: Workplace) -> None:
    carry_out(place, ROWS[3], Runner())
    assert replace(place, minutes=30).budget(ROWS[3]) == 120


def test_a_folder_begun_otherwise_is_refused(place: Workplace) -> None:
    """Its finished rows would be passed off as what is asked for now."""
    done(place)
    assert contradictions(place) == []
    assert contradictions(replace(place, overrides=("trainer.device=cuda", "paths.data=elsewhere"))) == []
    other = replace(place, overrides=("task.ways=20",))
    chance, *rest = contradictions(other)
    assert len(rest) == 3
    assert chance.startswith("chance_5w1s was begun in ") and "with task.queries=15: repeat that" in chance
    _, said = contradictions(replace(place, whole=True))  # of rfs and protonet: the others have no updates to leave out
    assert "for 1.0% of its recipe, not for the whole" in said
    assert "`metamtl train experiment=omniglot/protonet_5w1s task.queries=15 seed=5" in markdown(other)
    assert "task.ways=20" not in markdown(other)


def test_a_failing_seed_is_told_and_the_next_is_run(place: Workplace) -> None:
    two = Workplace(replace(TABLE, seeds=(0, 1)), place.out)
    runner = Runner(fails=["seed=0 "])
    (said,) = carry_out(two, ROWS[0], runner)
    assert said.startswith("chance_5w1s, seed 0: exit code 1") and remaining(two, ROWS[0]) == 1


def test_whole_recipes_need_no_measuring(place: Workplace) -> None:
    runner = Runner()
    carry_out(Workplace(TABLE, place.out, whole=True), ROWS[3], runner)
    (training,) = runner.calls
    assert not any(text.startswith("trainer.steps") for text in training)


def test_the_table_says_what_was_found_and_what_it_cost(place: Workplace) -> None:
    done(place)
    text = markdown(place)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "**A budgeted table**: 2 of 4 rows" in text
    assert "279 of the test split's 423 classes" in text
    assert "The best baseline on validation is rfs_5w1s" in text and _OF_ONE_SEED in text
    assert "| 98.8 | 68." in lines["protonet_5w1s"] and "| 1.0% | 1.5 | 4.0 | 111,680 |" in lines["protonet_5w1s"]
    differences = {name: line.split("|")[6].strip(" *") for name, line in lines.items()}
    assert float(differences["protonet_5w1s"].split()[0]) == pytest.approx(2, abs=0.7)
    assert float(differences["chance_5w1s"].split()[0]) == pytest.approx(-50, abs=0.7)
    assert differences["rfs_5w1s"] == "the baseline" and "**-49.84 (p < 0.001)**" in lines["chance_5w1s"]
    assert "Published: A paper, table 1. Deviations: shorter." in text
    assert "`metamtl train experiment=omniglot/protonet_5w1s task.queries=15" in text and str(place.out) not in text


def test_rows_are_tested_against_the_floor_as_well(place: Workplace) -> None:
    done(place)
    with_floor = replace(place, table=replace(TABLE, floor="centroid_5w1s"))
    text = markdown(with_floor)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    head = [cell.strip() for cell in lines["row"].split("|")]
    column = {name: line.split("|")[head.index("against centroid_5w1s")].strip(" *") for name, line in lines.items()}
    assert float(column["protonet_5w1s"].split()[0]) == pytest.approx(22, abs=0.7)
    assert column["centroid_5w1s"] == "the floor" and column["rfs_5w1s"].endswith("(p < 0.001)")
    assert [line.count("|") for line in lines.values()] == [13] * 5
    assert "against centroid_5w1s" not in markdown(place)
    alone = replace(with_floor, table=replace(with_floor.table, rows=(ROWS[3],)))
    assert "| - | - |" in markdown(alone)  # neither a baseline nor the floor was run


def test_a_row_of_a_method_is_its_default_recipe(place: Workplace) -> None:
    by_name = Table("made", "Made up", minutes=2, rows=(TableRow(algo="protonet"),), overrides=("data=glyphs",))
    other, runner = replace(place, table=by_name), Runner()
    assert carry_out(other, by_name.rows[0], runner) == []
    assert runner.calls[1][:4] == ["train", "algo=protonet", "data=glyphs", "seed=5"]
    assert "- **protonet**: `metamtl train algo=protonet data=glyphs seed=5" in markdown(other)


def test_rows_on_other_episodes_are_not_paired(place: Workplace) -> None:
    done(place)
    protonet = replace(TABLE, rows=(ROWS[2], replace(ROWS[3], experiment="omniglot/anil_5w1s")))
    other = Workplace(protonet, place.out)
    config = compose(["experiment=omniglot/protonet_5w1s"])
    finished_run(other.folder(protonet.rows[1]) / "s0", config, episodes_id="others")
    line = next(line for line in markdown(other).splitlines() if line.startswith("| anil_5w1s"))
    assert "other episodes" in line


def test_a_transductive_row_is_marked_and_its_difference_not_bold(place: Workplace) -> None:
    done(place)
    row = replace(ROWS[3], experiment="omniglot/anil_5w1s")
    with_it = Workplace(replace(TABLE, rows=(ROWS[0], ROWS[2], row)), place.out)
    finished_run(
        with_it.folder(row) / "s0", compose(["experiment=omniglot/protonet_5w1s"]), transduction="transductive: queries"
    )
    lines = {line.split("|")[1].strip(): line for line in markdown(with_it).splitlines() if line.startswith("| ")}
    assert "(p < 0.001) |" in lines["anil_5w1s †"] and "**" not in lines["anil_5w1s †"]
    assert "(p < 0.001)** |" in lines["chance_5w1s"]


def test_seeds_have_an_interval_of_their_own(place: Workplace) -> None:
    several = Workplace(replace(TABLE, seeds=(0, 1, 2)), place.out)
    done(several)
    text = markdown(several)
    line = next(line for line in text.splitlines() if line.startswith("| protonet_5w1s"))
    assert "| 3 | 50 |" in line and _OF_ONE_SEED not in text


def test_rows_that_do_not_fit_are_left_for_later(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row and seed is expected to take its two minutes: three minutes are enough for the first."""
    runner, clock = Runner(), [0.0]

    def slow(arguments: list[str]) -> int:
        clock[0] += 60
        return runner(arguments)

    jobs = Jobs()
    monkeypatch.setattr(jobs, "run", slow)
    monkeypatch.setattr("metamtl.commands.reproduce.time.monotonic", lambda: clock[0])
    assert reproduce._run(place, jobs, seconds=180) == []
    assert [remaining(place, row) for row in ROWS] == [0, 1, 1, 1]
    assert capsys.readouterr().err.count("does not fit in what is left of the budget") == 3
    assert "Not run yet: centroid_5w1s, rfs_5w1s, protonet_5w1s." in (place.out / "table.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["omniglt"], "did you mean omniglot?"),
        (["omniglot", "--budget", "2"], "write a time such as 2h"),
        (["omniglot", "--minutes", "0"], "must be more than 0"),
        (["omniglot", "--rows", "protont_5w1s"], "did you mean protonet_5w1s?"),
        (["omniglot", "--seeds", "a"], "write numbers, such as 0,1,2"),
        (["omniglot", "--whole", "--budget", "2h"], "--whole goes with neither"),
        (["omniglot", "cifar_fs"], "takes one table"),
        (["omniglot", "--fast"], "metamtl reproduce --help"),
        (["omniglot", "--rows", "chance_5w1s", "trainer.step=1"], "chance_5w1s: trainer.step: no such key"),
    ],
)
def test_wrong_usage_is_one_clear_sentence(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
