"""What people and programs read: the terminal at two widths, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise

import pytest
from rich.console import Console

from metamtl.comparison import formats
from metamtl.comparison.collect import collect
from metamtl.comparison.columns import differing, named, shown_p, standard
from metamtl.comparison.compare import Comparison, compare
from metamtl.comparison.differences import differences
from metamtl.comparison.groups import grouped
from metamtl.comparison.terminal import show
from metamtl.comparison.unfinished import Unfinished, unfinished
from metamtl.errors import UsageError
from tests.comparison.made import finished, noisy, started


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, list[Unfinished]]:
    tmp_path = tmp_path_factory.mktemp("outputs")
    for seed in range(2):
        finished(tmp_path, "maml", seed, accuracy=noisy(0.9, seed), validation=0.9, changes={"algo.inner_lr": 0.4})
        finished(tmp_path, "anil", seed, accuracy=noisy(0.7, 9 + seed), changes={"algo.note": "50% of a_b | <x> & $y$"})
    finished(tmp_path, "maml", 0, accuracy=noisy(0.9, 5, 50), changes={"algo.inner_lr": 0.1})
    started(tmp_path, "protonet").finish("failed", "RuntimeError: [bold]out of memory[/bold]")
    records = collect([tmp_path])
    return compare(grouped(records)), unfinished(records)


def printed(made: tuple[Comparison, list[Unfinished]], width: int, fit: bool = True) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    show(console, made[0], standard(made[0]), made[1], fit=fit)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_nothing_is_cut_at_the_widths_people_have(made: tuple[Comparison, list[Unfinished]], width: int) -> None:
    lines = printed(made, width)
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= width
    assert "…" not in text
    more = ("± episodes", "< 0.001 *") if width > 80 else ()
    for needed in ("accuracy %", "seeds ", "± seeds", "baseline", *more, "maml", "anil", "inner_lr=0.4"):
        assert needed in text
    assert "[bold]out of memory[/bold]" in text  # shown as it is
    assert ("Left out to fit the width: " in text) == (width < 200)
    assert ("parameters" in text.split("Left out")[0]) == (width == 200)


def test_a_narrow_table_gives_up_what_is_least_needed_first(made: tuple[Comparison, list[Unfinished]]) -> None:
    heads = {width: printed(made, width)[0] for width in range(40, 200, 4)}
    order = ("tasks/s", "seconds", "validation", "± episodes", "seeds  ", "± seeds", "accuracy %")
    for needed, other in pairwise(reversed(order)):
        assert all(needed in head for head in heads.values() if other in head), (needed, other)
    assert all("accuracy %" in head and "difference" in head for head in heads.values())
    assert any("seeds  " in head and "± episodes" not in head for head in heads.values())


def test_settings_that_differ_name_rows(made: tuple[Comparison, list[Unfinished]]) -> None:
    names = [row.group.name for row in made[0].rows]
    assert names == ["maml inner_lr=0.4", "anil", "maml inner_lr=0.1"]
    assert differences(made[0]) == [
        ("algo.name", "maml (1 3), anil (2)"),
        ("algo.inner_lr", "0.4 (1), 0.1 (3)"),
        ("algo.note", "50% of a_b | <x> & $y$ (2)"),
    ]


def test_markdown_has_a_table_a_section_and_hides_no_sign(made: tuple[Comparison, list[Unfinished]]) -> None:
    text = formats.markdown(made[0], [*standard(made[0]), *named(made[0], ["algo.note"])], made[1])
    tables = [block for block in text.split("\n\n") if block.startswith("| #")]
    assert [table.count("\n") + 1 for table in tables] == [4, 3]  # title, rule, rows
    widths = {line.replace("\\|", "").count("|") for table in tables for line in table.splitlines()}
    assert len(widths) == 1
    assert r"50% of a\_b \| \<x> & $y$" in text
    assert "Without figures:" in text


def test_latex_is_a_tabular_whose_rows_have_as_many_cells_as_columns(made: tuple[Comparison, list[Unfinished]]) -> None:
    columns = [*standard(made[0]), *named(made[0], ["algo.note"])]
    text = formats.latex(made[0], columns, made[1])
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert body[0] == rf"\begin{{tabular}}{{rl{'r' * (len(columns) - 2)}}}"
    assert (body[1], body[-2], body[-1]) == (r"\toprule", r"\bottomrule", r"\end{tabular}")
    assert body.count(r"\midrule") == 2
    rows = [line for line in body if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {len(columns) - 1}
    assert r"50\% of a\_b | $<$x$>$ \& \$y\$" in text


def test_csv_has_every_digit_and_one_line_a_group(made: tuple[Comparison, list[Unfinished]]) -> None:
    comparison = made[0]
    text = formats.comma_separated(comparison, [*standard(comparison), *differing(comparison)])
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [(line["section"], line["group"], line["algo.inner_lr"]) for line in lines] == [
        ("1", "maml inner_lr=0.4", "0.4"),
        ("1", "anil", ""),
        ("2", "maml inner_lr=0.1", "0.1"),
    ]
    assert [float(line["accuracy"]) for line in lines] == [row.figures.mean for row in comparison.rows]
    test = comparison.rows[1].test
    assert test is not None
    found = [float(lines[1][name]) for name in ("difference", "difference_low", "p_t", "p_t_holm", "p_wilcoxon")]
    assert found == [test.difference, test.low, test.p_t, test.p_t_holm, test.p_wilcoxon]
    assert (lines[0]["difference"], lines[0]["is_baseline"], lines[2]["ci_seeds"]) == ("", "1", "")


def test_json_holds_everything_and_null_for_what_is_not_known(made: tuple[Comparison, list[Unfinished]]) -> None:
    content = json.loads(formats.json_text(*made), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (content["metric"], content["lower_is_better"]) == ("accuracy", False)
    first, second = content["sections"]
    assert first["baseline"] == "maml inner_lr=0.4"
    assert [row["test"] is None for row in first["rows"]] == [True, False]
    assert second["rows"][0]["figures"]["seed_interval"] is None
    assert [run["seed"] for run in first["rows"][0]["runs"]] == [0, 1]
    assert [(one["status"], one["reason"][:20]) for one in content["unfinished"]] == [
        ("failed", "Before its first ste")
    ]


def test_columns_are_found_by_their_names_and_by_keys(made: tuple[Comparison, list[Unfinished]]) -> None:
    columns = named(made[0], ["group", "accuracy", "shots", "inner_lr"])
    assert [column.key for column in columns] == ["group", "accuracy", "task.shots", "algo.inner_lr"]
    assert [column.text(made[0].rows[1]) for column in columns][2:] == ["1", "-"]
    with pytest.raises(UsageError, match="shotts: no run has such a key; did you mean task"):
        named(made[0], ["group", "shotts"])


def test_p_has_a_star_exactly_below_the_level() -> None:
    assert [shown_p(p) for p in (0.9, 0.0501, 0.0499, 0.00051)] == ["0.900", "0.050", "0.050 *", "< 0.001 *"]
    assert shown_p(float("nan")) == "-"
