"""Means over shapes: who takes part in them, and that a loss is told as a win is."""

from __future__ import annotations

from typing import Any

import pytest

from metamtl.bench.report import Reporter, summaries


def row(shape: str, who: str, ms: float | None, right: bool = True, order: str = "second") -> dict[str, Any]:
    found = {"shape": shape, "order": order, "who": who, "ms": ms, "right": right}
    return {**found, "error_float64": 1e-6, "peak_mb": None, "inner_steps": 1}


ROWS = [
    *(row("S1", "metamtl", 100), row("S1", "higher", 400), row("S1", "plain loop", 200)),
    *(row("S1", "vmap(grad)", 150), row("S1", "jax", 10), row("S1", "metamtl", None)),
    *(row("S6", "metamtl", 100), row("S6", "higher", 100), row("S6", "plain loop", 800), row("S6", "vmap(grad)", 50)),
    row("S6", "jax", 10),
]


def test_means_over_shapes_with_and_without_s6() -> None:
    (summary,) = summaries(ROWS)
    means = summary["means"]
    assert means["higher"]["all"] == pytest.approx(2) and means["higher"]["without_S6"] == pytest.approx(4)
    assert means["fastest loop"]["shapes"] == {"S1": 2, "S6": 1}
    assert means["fastest of all"]["shapes"] == {"S1": 1.5, "S6": 0.5}
    assert means["fastest of all"]["lowest"] == 0.5 and means["fastest of all"]["lowest_at"] == "S6"
    assert means["jax"]["all"] == pytest.approx(0.1)


def test_a_wrong_gradient_is_in_no_mean() -> None:
    rows = [dict(one, right=one["who"] != "vmap(grad)") for one in ROWS]
    (summary,) = summaries(rows)
    assert "vmap(grad)" not in summary["means"]
    assert summary["means"]["fastest of all"]["shapes"] == {"S1": 2, "S6": 1}
    lines: list[str] = []
    Reporter(lines.append).shape([one for one in rows if one["shape"] == "S1"])
    assert sum("its gradient is wrong" in line for line in lines) == 1


def test_orders_are_apart_and_losses_are_printed() -> None:
    first = [row("S1", "metamtl", 100, order="first"), row("S1", "plain loop", 50, order="first")]
    lines: list[str] = []
    for summary in summaries([*ROWS, *first]):
        Reporter(lines.append).summary(summary)
    after = lines[next(number for number, line in enumerate(lines) if "first order" in line) :]
    assert any("plain loop" in line and "0.50" in line for line in after)


def test_without_metamtl_there_is_nothing_to_compare_with() -> None:
    assert summaries([one for one in ROWS if one["who"] != "metamtl"]) == []
