"""Run folders made up as a real run leaves them, and a runner that makes them in place of training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from metamtl.config.compose import compose
from metamtl.reproduce.budget import UPDATES
from metamtl.reproduce.table import Table, TableRow
from metamtl.runs.folder import RunFolder
from metamtl.runs.metrics import MetricStream
from metamtl.runs.result import Result, summary, write_result

ROWS = (
    TableRow("omniglot/chance_5w1s"),
    TableRow("omniglot/centroid_5w1s", baseline=True),
    TableRow("omniglot/rfs_5w1s", published=90.0, source="A paper, table 1", deviations="shorter", baseline=True),
    TableRow("omniglot/protonet_5w1s", published=98.8),
)
TABLE = Table("made", "Made up", minutes=2, rows=ROWS, overrides=("task.queries=15",))
ACCURACY = {"chance": 0.2, "centroid": 0.5, "rfs": 0.7, "protonet": 0.72}
SECONDS = 3.0  # of an update


class Runner:
    """Stands in for `metamtl ARGUMENTS`: notes them and leaves a finished run; `fails` names what does not end well."""

    def __init__(self, fails: Sequence[str] = ()) -> None:
        self.calls: list[list[str]] = []
        self.fails = fails

    def __call__(self, arguments: Sequence[str]) -> int:
        self.calls.append(list(arguments))
        if any(name in " ".join(arguments) for name in self.fails):
            return 1
        if arguments[0] == "resume":
            RunFolder.open(Path(arguments[1])).finish("completed")
            return 0
        config = _composed(tuple(text for text in arguments[1:] if not text.startswith("paths.outputs")))
        outputs = Path(next(text for text in arguments if text.startswith("paths.outputs")).partition("=")[2])
        finished_run(outputs, config)
        return 0


@cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    """Many tests run the same rows."""
    return compose(overrides)


def finished_run(
    outputs: Path,
    config: dict[str, Any],
    episodes_id: str = "same",
    transduction: str = "none: a query is predicted alone",
) -> RunFolder:
    """A completed run of the config, its figures from ACCURACY."""
    algo, seed = config["algo"]["name"], config["seed"]
    run = RunFolder.create(outputs, config, ["metamtl", "train"], algo)
    steps = 0 if algo in ("chance", "centroid") else UPDATES
    with MetricStream(run.metrics_file) as stream:
        for step in range(1, steps + 1):
            stream.write(step, "train", {"time/seconds": 10 + SECONDS * step})
    noise = np.random.default_rng(7).normal(0, 0.1, 50)  # the same tasks are hard for all
    own = np.random.default_rng(10 * seed + len(algo)).normal(0, 0.01, 50)
    figures = ACCURACY[algo] + noise + own
    result = Result(
        test={"accuracy": summary(figures)},
        episodes_id=episodes_id,
        split="test",
        task={"ways": 5, "shots": 1, "queries": 15},
        transduction=transduction,
        model={"parameters": 111680, "trainable": 111680},
        train={"steps": steps, "seconds": 90.0, "tasks_per_second": 4.0},
        best={"step": steps, "val/accuracy": ACCURACY[algo]},
        data={"name": "omniglot", "fingerprint": "f", "classes": {"test": 279}, "classes_listed": {"test": 423}},
    )
    write_result(run, result, {"accuracy": figures})
    run.finish("completed")
    return run
