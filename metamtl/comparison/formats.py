"""A comparison as text for other programs: Markdown, LaTeX (booktabs), CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from metamtl.comparison.columns import NOTHING, Column, known
from metamtl.comparison.compare import Comparison
from metamtl.comparison.differences import differences
from metamtl.comparison.legend import legend
from metamtl.comparison.sections import Row, Section
from metamtl.comparison.unfinished import Unfinished
from metamtl.runs.files import to_json
from metamtl.runs.metric_names import lower_is_better

_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
}


def markdown(comparison: Comparison, columns: Sequence[Column], rest: Sequence[Unfinished]) -> str:
    """A table for each section, then the notes and the runs without figures as lists."""
    lines: list[str] = []
    for section in comparison.sections:
        lines += [_markdown_row([column.title for column in columns])]
        lines += [_markdown_row(["---:" if column.numeric else "---" for column in columns])]
        lines += [_markdown_row([_markdown_text(column.text(row)) for column in columns]) for row in section.rows]
        lines += [""]
    lines += [f"- {_markdown_text(note)}" for note in (*legend(comparison, columns), *comparison.notes)]
    if settings := differences(comparison):
        lines += ["", "Settings that differ, with the numbers of the rows:", ""]
        lines += [f"- {_markdown_text(f'{key}: {values}')}" for key, values in settings]
    if rest:
        lines += ["", "Without figures:", ""]
        lines += [f"- {_markdown_text(f'{one.record.name}: {one.record.state}. {one.why}')}" for one in rest]
    return "\n".join(lines) + "\n"


def latex(comparison: Comparison, columns: Sequence[Column], rest: Sequence[Unfinished]) -> str:
    r"""A `tabular` with the rules of booktabs, sections parted by \midrule; notes as comments above it."""
    notes = (*legend(comparison, columns), *comparison.notes, *(f"{one.record.name}: {one.why}" for one in rest))
    head = [f"% {' '.join(note.split())}" for note in notes]
    form = "".join("r" if column.numeric else "l" for column in columns)
    lines = [*head, rf"\begin{{tabular}}{{{form}}}", r"\toprule", _latex_row([column.title for column in columns])]
    for section in comparison.sections:
        lines += [r"\midrule", *(_latex_row([column.text(row) for column in columns]) for row in section.rows)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def comma_separated(comparison: Comparison, columns: Sequence[Column]) -> str:
    """One line a group, every number with all its digits; empty where nothing is known, notes left out."""
    lines = [
        {"section": number, **{name: value for column in columns for name, value in column.values(row).items()}}
        for number, section in enumerate(comparison.sections, 1)
        for row in section.rows
    ]
    names = dict.fromkeys(name for line in lines for name in line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def json_text(comparison: Comparison, rest: Sequence[Unfinished]) -> str:
    """Everything that is known: sections with rows, notes, and the runs without figures."""
    content = {
        "metric": comparison.metric,
        "lower_is_better": lower_is_better(comparison.metric),
        "sections": [_section(section) for section in comparison.sections],
        "left_out": [group.name for group in comparison.left_out],
        "notes": comparison.notes,
        "unfinished": [{"path": one.record.path, "status": one.record.state, "reason": one.why} for one in rest],
    }
    return to_json(content, indent=2) + "\n"


def _section(section: Section) -> dict[str, Any]:
    baseline = section.baseline.name if section.baseline else None
    return {"baseline": baseline, "rows": [_row(row) for row in section.rows]}


def _row(row: Row) -> dict[str, Any]:
    return {
        "group": row.group.name,
        "settings": row.group.settings,
        "runs": [{"path": record.path, "seed": record.seed} for record in row.group.counted],
        "figures": _with_null(asdict(row.figures)),
        "cost": _with_null(asdict(row.cost)),
        "test": _with_null(asdict(row.test)) if row.test else None,
        "why_untested": row.why_untested,
        "rank": asdict(row.rank) if row.rank else None,
        "negative_transfer": asdict(row.harm) if row.harm else None,
        "step_ratio": known(row.step_ratio),
    }


def _with_null(values: dict[str, Any]) -> dict[str, Any]:
    return {key: known(value) if isinstance(value, float) else value for key, value in values.items()}


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_text(text: str) -> str:
    """A name with `|` or `<` is shown as it is; a star is no emphasis."""
    for sign in ("\\", "|", "*", "_", "<", "`"):
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _latex_row(cells: Sequence[str]) -> str:
    return f"{' & '.join(_latex_text(cell) for cell in cells)} \\\\"


def _latex_text(text: str) -> str:
    escaped = "".join(_LATEX.get(sign, sign) for sign in text)
    # a hyphen before a digit is a minus, alone it is a dash
    return "--" if text == NOTHING else escaped
