"""Runs a suite, prints its figures and writes them as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metamtl.errors import MetamtlError, UsageError


def write(file: Path, figures: dict[str, Any]) -> None:
    """The figures beside what they depend on; MetamtlError where the file cannot be written."""
    from metamtl.bench.measure import machine

    try:
        file.write_text(json.dumps({**figures, "machine": machine()}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise MetamtlError(f"The figures cannot be written to {file}: {error.strerror}.") from error


def say(line: str) -> None:
    """Prints a line at once: a bench takes long."""
    print(line, flush=True)


def engine(
    shapes: Sequence[str],
    orders: Sequence[str],
    engines: Sequence[str],
    memory: Sequence[str],
    overrides: Sequence[str],
    peers: bool,
    repeat: int,
    device: str,
) -> dict[str, Any]:
    """The rows of the suite `engine`, and its means."""
    from metamtl.bench.shapes import OWN, SHAPES, shapes_of

    chosen = shapes_of(shapes, overrides, device)
    if wrong := [name for name in memory if name not in (*SHAPES, OWN, "all", "none")]:
        raise UsageError(f"--memory={wrong[0]}: no such shape; there are {', '.join(SHAPES)}, {OWN}, all and none.")
    from metamtl.bench.engine import EngineBench
    from metamtl.bench.report import Reporter, summaries

    reporter = Reporter(say)
    bench = EngineBench(chosen, orders, engines, peers, repeat, memory, device)
    rows = bench.run(reporter)
    found = summaries(rows)
    for summary in found:
        reporter.summary(summary)
    return {"engine": rows, "engine_means": found}


def other(suite: str, overrides: Sequence[str], peers: bool, repeat: int) -> dict[str, Any]:
    """The rows of the suites `data`, `eval` and `startup`."""
    from importlib import import_module

    modules = {"data": "data", "eval": "evaluation", "startup": "startup"}
    rows = import_module(f"{__package__}.{modules[suite]}").run(overrides, peers, repeat, say)
    return {suite: rows}
