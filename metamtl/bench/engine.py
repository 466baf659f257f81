"""The meta-gradients of MAML, timed against peers, with their distance from a plain loop in float64 beside each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypedDict

from metamtl.bench.contenders import APART, is_right, names, reference, settled
from metamtl.bench.measure import alternate
from metamtl.bench.memory import peak_mb
from metamtl.bench.problem import distance, make_problem
from metamtl.bench.report import Reporter
from metamtl.bench.shapes import Shape

INNER_STEPS = (1, 5, 10)  # at which peak memory is measured


class Row(TypedDict):
    """One contender at one shape: median milliseconds, distance from float64, and the peak memory of a step.

    A row of memory at another number of inner steps has no time. `right` says whether the gradient is exact in float64.
    """

    shape: str
    order: str
    who: str
    ms: float | None
    error_float64: float | None
    peak_mb: float | None
    inner_steps: int | None
    right: bool


@dataclass(frozen=True)
class EngineBench:
    """What is asked for; `memory` names the shapes whose peak memory is measured, or says `all`."""

    shapes: Sequence[Shape]
    orders: Sequence[str]
    engines: Sequence[str]
    peers: bool
    repeat: int
    memory: Sequence[str]
    device: str = "cpu"

    def run(self, report: Reporter) -> list[Row]:
        """All rows, told to `report` shape by shape."""
        rows: list[Row] = []
        for shape in self.shapes:
            for order in self.orders:
                found = self._speed(shape, order)
                if {"all", shape.name} & set(self.memory):
                    found = self._with_memory(shape, found)
                rows += found
                report.shape(found)
        return rows

    def _speed(self, shape: Shape, order: str) -> list[Row]:
        problem = make_problem(shape, order)
        wanted = reference(shape, order)
        rows, steps = [], {}
        with ExitStack() as stack:
            for who in names(self.engines, self.peers, order, self.device):
                steps[who] = stack.enter_context(settled(who, problem))
                error = distance(steps[who](), wanted)  # the first step, which compiles, is not timed
                rows.append(
                    Row(
                        shape=shape.name,
                        order=order,
                        who=who,
                        ms=None,
                        error_float64=error,
                        peak_mb=None,
                        inner_steps=problem.inner_steps,
                        right=is_right(who, problem),
                    )
                )
            medians = alternate(steps, self.repeat)
        return [{**row, "ms": medians[row["who"]]} for row in rows]

    def _with_memory(self, shape: Shape, rows: list[Row]) -> list[Row]:
        found: list[Row] = []
        for row in rows:
            if self.device != "cpu" and row["who"] in APART:  # torch does not know of its memory
                found.append(row)
                continue
            own = row["inner_steps"]
            found.append({**row, "peak_mb": peak_mb(shape, row["order"], row["who"], None)})
            for steps in INNER_STEPS if own is not None else ():
                if steps != own:
                    peak = peak_mb(shape, row["order"], row["who"], steps)
                    found.append({**row, "ms": None, "error_float64": None, "peak_mb": peak, "inner_steps": steps})
        return found
