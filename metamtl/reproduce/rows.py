"""Runs the rows of a table one after another, and finds out from the folders alone what is done.

OUT/ROW/calibration/RUN    the run that measured what an update costs
OUT/ROW/plan.json          how long the row trains; written before it starts and kept from then on
OUT/ROW/s0/RUN             its run of seed 0
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from metamtl.comparison.groups import IGNORED
from metamtl.config.compose import compose
from metamtl.errors import MetamtlError
from metamtl.reproduce.budget import Plan, calibrating, plan, seconds_per_update
from metamtl.reproduce.table import Table, TableRow
from metamtl.runs.files import read_json, write_json
from metamtl.runs.folder import RunFolder

Run = Callable[[Sequence[str]], int]
_MEND = "repeat that, or give another folder by -o."


@dataclass(frozen=True)
class Workplace:
    """Where a table's rows are run, and what the user gave for all of them.

    `minutes` of updates are those of a row and seed where the table's are not wanted; `whole` trains whole recipes.
    """

    table: Table
    out: Path
    overrides: tuple[str, ...] = ()
    minutes: float | None = None
    whole: bool = False

    def folder(self, row: TableRow) -> Path:
        """The row's own."""
        return self.out / row.name

    def arguments(self, row: TableRow) -> list[str]:
        """What the row's command has whatever its length."""
        return [row.option, *self.table.overrides, *row.overrides, *self.overrides]

    def command(self, row: TableRow, seed: int, arguments: Sequence[str] | None = None) -> list[str]:
        """The arguments of `metamtl` that repeat the row's run; of a row without a plan, those of the whole recipe.

        `arguments` are those that it was started with, where these are not what is asked for now.
        """
        return [
            "train",
            *(self.arguments(row) if arguments is None else arguments),
            *(saved_plan(self.folder(row)) or Plan(1.0, ())).overrides,
            f"seed={seed}",
        ]

    def budget(self, row: TableRow) -> float:
        """Seconds of updates; of a row that was started, those of its plan."""
        path = self.folder(row) / "plan.json"
        settled: float | None = read_json(path).get("minutes") if path.exists() else None
        return 60 * (settled or self.minutes or row.minutes or self.table.minutes)


def saved_plan(folder: Path) -> Plan | None:
    """The plan that a row was started with."""
    path = folder / "plan.json"
    if not path.exists():
        return None
    content = read_json(path)
    return Plan(content["share"], tuple(content["overrides"]))


def share_of(folder: Path) -> float:
    """The part of its recipe that the row in `folder` trains for."""
    chosen = saved_plan(folder)
    return 1.0 if chosen is None else chosen.share


def begun_with(folder: Path) -> list[str] | None:
    """What the command of a row that was started had whatever its length; None where it was not, or did not say."""
    path = folder / "plan.json"
    found: list[str] | None = read_json(path).get("arguments") if path.exists() else None
    return found


def contradictions(place: Workplace) -> list[str]:
    """A sentence for each row that was started as another one than is asked for now, whose runs are not what is meant.

    Seeds that come later train as long as the first, whatever their budget; but a part of a recipe is not the whole.
    """
    found = []
    for row in place.table.rows:
        begun, asked = begun_with(place.folder(row)), place.arguments(row)
        if begun is not None and _deciding(begun) != _deciding(asked):
            told = " ".join(_deciding(begun)[1:]) or "nothing else"
            found.append(f"{row.name} was begun in {place.folder(row)} with {told}: {_MEND}")
        elif place.whole and (share := share_of(place.folder(row))) < 1:
            part = f"{100 * share:.1f}% of its recipe"
            found.append(f"{row.name} was begun in {place.folder(row)} for {part}, not for the whole: {_MEND}")
    return found


def _deciding(arguments: Sequence[str]) -> list[str]:
    """Those that decide figures."""
    keys = {text: text.partition("=")[0].lstrip("+~") for text in arguments}
    return [text for text, key in keys.items() if not IGNORED & {key, key.partition(".")[0]}]


def run_of(folder: Path) -> RunFolder | None:
    """The newest run folder in `folder`; None where there is none."""
    found = sorted(folder.glob("*/meta.json"))
    return RunFolder.open(found[-1].parent) if found else None


def is_done(folder: Path) -> bool:
    """Whether the run in `folder` is completed."""
    run = run_of(folder)
    return run is not None and run.meta()["status"] == "completed"


def carry_out(place: Workplace, row: TableRow, run: Run) -> list[str]:
    """All seeds of a row, as far as they are not done; a sentence for each that failed."""
    if saved_plan(place.folder(row)) is None:
        _make_plan(place, row, run)
    failures = []
    for seed in place.table.seeds:
        folder = place.folder(row) / f"s{seed}"
        if is_done(folder):
            continue
        begun = run_of(folder)
        arguments = [*place.command(row, seed), f"paths.outputs={folder}"]
        code = run(["resume", str(begun.path)] if begun is not None else arguments)
        if code:
            failures.append(f"{row.name}, seed {seed}: exit code {code}; see {folder}.")
    return failures


def remaining(place: Workplace, row: TableRow) -> int:
    """How many seeds of a row are not done."""
    return sum(not is_done(place.folder(row) / f"s{seed}") for seed in place.table.seeds)


def _make_plan(place: Workplace, row: TableRow, run: Run) -> None:
    folder, config = place.folder(row), compose(place.arguments(row))
    folder.mkdir(parents=True, exist_ok=True)
    if place.whole:
        write_json(folder / "plan.json", {**asdict(Plan(1.0, ())), "arguments": place.arguments(row)})
        return
    measured = folder / "calibration"
    if not is_done(measured):
        code = run(["train", *place.arguments(row), *calibrating(config["trainer"]), f"paths.outputs={measured}"])
        if code:
            raise MetamtlError(f"{row.name}: the run that measures an update ended with exit code {code}.")
    done = run_of(measured)
    assert done is not None
    seconds = seconds_per_update(done.path)
    chosen = plan(config["trainer"], seconds, place.budget(row))
    facts = {"seconds_per_update": seconds, "minutes": place.budget(row) / 60, "arguments": place.arguments(row)}
    write_json(folder / "plan.json", {**asdict(chosen), **facts})
