"""From the command to its first line, and to the first step of training: seconds, in fresh processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import TypedDict

from metamtl.errors import MetamtlError

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "metamtl --help": ["-m", "metamtl", "--help"],
    "metamtl list": ["-m", "metamtl", "list"],
}
# times the import of torch and the end of the first update from within the command
FIRST_STEP = """
import json, sys, time
from importlib.machinery import PathFinder
started, marks = time.perf_counter(), {}
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name != "torch" or "before torch" in marks:
            return None
        marks["before torch"] = time.perf_counter() - started
        spec = PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        def timed(module):
            run(module)
            marks["importing torch"] = time.perf_counter() - started - marks["before torch"]
        spec.loader.exec_module = timed
        return spec
sys.meta_path.insert(0, Watch())
from metamtl.cli import main
class Enough(BaseException): pass
def watched():
    from metamtl.trainer.loop import Trainer
    step = Trainer._step
    def first(self, *arguments):
        step(self, *arguments)
        marks["after torch"] = time.perf_counter() - started - marks["before torch"] - marks["importing torch"]
        raise Enough
    Trainer._step = first
import metamtl.trainer.run as run
carry_out = run._carry_out
def carried(*arguments, **options):
    watched()
    return carry_out(*arguments, **options)
run._carry_out = carried
try:
    main(sys.argv[1:])
except Enough:
    print(json.dumps(marks))
"""


class Row(TypedDict):
    """A command and the median seconds of a part of it."""

    what: str
    part: str
    seconds: float


def run(overrides: Sequence[str], peers: bool, repeat: int, say: Callable[[str], None]) -> list[Row]:
    """Rows of `--help`, `list`, and `train` with these overrides up to the end of its first update."""
    rows = [Row(what=what, part="whole", seconds=_seconds(arguments, repeat)) for what, arguments in COMMANDS.items()]
    command = " ".join(["metamtl train", *overrides])
    parts = [_first_step(overrides) for _ in range(repeat)]
    for part in parts[0]:
        rows.append(Row(what=command, part=part, seconds=statistics.median(one[part] for one in parts)))
    for row in rows:
        say(f"{row['what']:<40}{row['part']:<18}{row['seconds']:>8.2f} s")
    return rows


def _seconds(arguments: Sequence[str], repeat: int) -> float:
    found = []
    for _ in range(repeat):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def _first_step(overrides: Sequence[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", *overrides, f"paths.outputs={folder}"]
        done = subprocess.run([sys.executable, "-c", FIRST_STEP, *words], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise MetamtlError(f"The first step was not reached: {done.stderr.strip()[-300:]}")
    found: dict[str, float] = json.loads(lines[-1])
    return found
