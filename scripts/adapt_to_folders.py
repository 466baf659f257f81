"""Does adapting to a folder of pictures reach the accuracy that the run's own test measured?

    python scripts/adapt_to_folders.py outputs/RUN [EPISODES] [--transductive]

Draws the run's own test tasks (classes that training never saw), writes the drawings of each as PNG files in a folder a
class, dark ink on light paper where the run learnt light ink on dark, runs `metamtl adapt` on them as a user would, and
prints the accuracy of the CSV file beside that of the same tasks as `metamtl eval` meets them.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metamtl import load
from metamtl.cli import main
from metamtl.data.inputs import describe_inputs
from metamtl.data.opening import open_source, task_shape
from metamtl.data.sampler import eval_key
from metamtl.engine.world import World
from metamtl.evaluation.protocol import evaluate_episodes
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import summary


def compare(folder: Path, episodes: int, flags: list[str]) -> None:
    """Prints both accuracies over the first `episodes` test tasks of the run in `folder`."""
    run = RunFolder.open(folder)
    config = run.config()
    source, shape = open_source(config), task_shape(config["task"])
    dark = describe_inputs(source)["background"] == "dark"
    key = eval_key(config["eval"]["seed"], source, config["eval"]["split"], shape)
    figures = []
    for number in range(episodes):
        (task,) = source.episodes(config["eval"]["split"], shape, np.array([number]), key)
        with tempfile.TemporaryDirectory() as place:
            write(Path(place, "support"), task.support_x[0], task.support_y[0], dark)
            write(Path(place, "query"), task.query_x[0], task.query_y[0], dark)
            figures.append(adapted(folder, Path(place), flags))
    parts = replace(load(folder, "cpu").parts, source=source)
    own = evaluate_episodes(parts, World(0, 1), config["eval"]["split"], episodes)["accuracy"]
    for name, values in (("adapted to folders", np.array(figures)), ("the run's own tasks", own)):
        found = summary(values)
        print(f"{name:<20}{found['mean']:.4f} +- {found['ci95']:.4f} over {found['episodes']} tasks")
    difference = summary(np.array(figures) - own)
    print(f"{'difference':<20}{difference['mean']:+.4f} +- {difference['ci95']:.4f}, pair by pair")


def write(folder: Path, x: NDArray[Any], y: NDArray[Any], dark: bool) -> None:
    """The pictures x [N, C, H, W] as folder/CLASS/NUMBER.png."""
    for number, (picture, label) in enumerate(zip(x, y, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        levels = 255 - picture if dark else picture
        image = Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))
        image.save(folder / str(label) / f"{number}.png")


def adapted(run: Path, place: Path, flags: list[str]) -> float:
    """The share of the query pictures whose label is their folder."""
    table = place / "predictions.csv"
    words = ["adapt", str(run), "--support", str(place / "support"), "--predict", str(place / "query")]
    with redirect_stdout(StringIO()):
        code = main([*words, "-o", str(table), "--threshold", "off", *flags])
    assert code == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return float(np.mean([row["label"] == Path(row["path"]).parent.name for row in rows]))


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    compare(Path(words[0]), int(words[1]) if len(words) > 1 else 100, [w for w in sys.argv[1:] if w.startswith("-")])
