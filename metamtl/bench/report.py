"""What a bench prints: a table a shape as it is done, then geometric means, wins and losses alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metamtl.bench.contenders import APART, LOOPS, OURS
from metamtl.bench.measure import geometric_mean

Times = dict[str, dict[str, float]]  # milliseconds by shape and contender
Summary = dict[str, Any]


class Reporter:
    """Prints rows; `say` takes a line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def shape(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The rows of one shape and order; `x` is how much longer each takes than metamtl."""
        ours = next((row["ms"] for row in rows if row["who"] == OURS and row["ms"]), None)
        self.say(f"\n{rows[0]['shape']}, {rows[0]['order']} order")
        self.say(f"  {'':<24}{'ms':>10}{'x':>8}{'from float64':>14}{'inner steps':>13}{'peak MB':>9}")
        for row in rows:
            ratio = f"{row['ms'] / ours:.2f}" if ours and row["ms"] else ""
            cells = (_cell(row["ms"], ".1f"), ratio, _cell(row["error_float64"], ".1e"))
            more = (_cell(row["inner_steps"], "d"), _cell(row["peak_mb"], ".0f"))
            wrong = "" if row["right"] else "  its gradient is wrong: in no mean"
            self.say(f"  {row['who']:<24}{cells[0]:>10}{cells[1]:>8}{cells[2]:>14}{more[0]:>13}{more[1]:>9}{wrong}")

    def summary(self, summary: Summary) -> None:
        """The geometric means of one order."""
        self.say(f"\n{summary['order']} order: times of others over metamtl's, geometric means over shapes")
        for name, means in summary["means"].items():
            without = f"   without S6 {means['without_S6']:.2f}" if means["without_S6"] is not None else ""
            self.say(f"  {name:<32}{means['all']:.2f}{without}   lowest {means['lowest']:.2f} at {means['lowest_at']}")


def summaries(rows: Sequence[Mapping[str, Any]]) -> list[Summary]:
    """For each order: the means against each right peer, the fastest loop and the fastest of all but JAX."""
    found = []
    for order in dict.fromkeys(row["order"] for row in rows):
        timed = [row for row in rows if row["order"] == order and row["ms"] and row["right"]]
        times: Times = {}
        for row in timed:
            times.setdefault(row["shape"], {})[row["who"]] = row["ms"]
        means = _means({shape: of for shape, of in times.items() if OURS in of})
        if means:
            found.append({"order": order, "means": means})
    return found


def _means(times: Times) -> dict[str, Summary]:
    others = dict.fromkeys(who for of in times.values() for who in of if who != OURS)
    ratios = {who: {shape: of[who] / of[OURS] for shape, of in times.items() if who in of} for who in others}
    peers = [who for who in others if not who.startswith(OURS) and who not in APART]
    for name, group in (("fastest loop", [who for who in peers if who in LOOPS]), ("fastest of all", peers)):
        found = {
            shape: min(ratios[who][shape] for who in group if shape in ratios[who])
            for shape in times
            if any(shape in ratios[who] for who in group)
        }
        if len(group) > 1 and found:
            ratios[name] = found
    return {name: _mean(of) for name, of in ratios.items()}


def _mean(ratios: dict[str, float]) -> Summary:
    rest = [ratio for shape, ratio in ratios.items() if shape != "S6"]
    lowest = min(ratios, key=lambda shape: ratios[shape])
    return {
        "all": geometric_mean(list(ratios.values())),
        "without_S6": geometric_mean(rest) if rest else None,
        "lowest": ratios[lowest],
        "lowest_at": lowest,
        "shapes": ratios,
    }


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
