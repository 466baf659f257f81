"""One run: how it stands, what it found, its curves, checkpoints, pictures, log, environment and config."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metamtl.comparison.names import shown_value
from metamtl.comparison.record import RunRecord
from metamtl.dashboard.blocks import STATES, Block, Cell, Chart, Folded, Image, Pre, Progress, Table, Text
from metamtl.dashboard.charts import COLOURS, DASHES, axis_of, layout, numbers
from metamtl.dashboard.pages.parts import choices
from metamtl.dashboard.streams import curves_of, of_names, smoothed
from metamtl.dashboard.view import SMOOTHINGS, View
from metamtl.dashboard.watch import Snapshot, identity
from metamtl.errors import MetamtlError
from metamtl.runs.files import read_json
from metamtl.runs.folder import RunFolder
from metamtl.runs.units import readable

_LOG_BYTES = 1 << 14
_LARGEST_PICTURE = 4 << 20
_MOST_PICTURES = 12
_PNG = b"\x89PNG\r\n\x1a\n"
_UNSEEN = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def page(snapshot: Snapshot, view: View) -> list[Block]:
    """The blocks of the page."""
    record = snapshot.by_identity.get(view.run)
    if record is None:
        shown = snapshot.shown(view.where).records
        if not view.run and shown:
            record = shown[-1]
            view = view.to(run=identity(record.path))
        else:
            return [Text("There is no such run here; it may have been moved or deleted.", "warning")]
    blocks: list[Block] = [Text(record.name, "heading"), _standing(record)]
    if record.reason:
        blocks.append(Text(record.reason, "note" if record.state == "completed" else "warning"))
    smoothing = choices("smoothing", [(one, {"smooth": one}, view.smooth == one) for one in SMOOTHINGS], view)
    charts = _charts(record, float(view.smooth))
    blocks += [*_figures(record), *(smoothing if charts else []), *charts, *_evaluations(record)]
    return [*blocks, *_checkpoints(record), *_log(record), *_pictures(record), *_environment(record), *_config(record)]


def _standing(record: RunRecord) -> Table:
    progress = record.progress()
    rows: list[list[Cell]] = [["status", STATES[record.state]]]
    if progress is not None:
        rows.append(["progress", Progress(*progress)])
    meta = record.meta
    told = {
        "seed": record.seed,
        "device": meta.get("device"),
        "started": meta.get("started"),
        "ended": meta.get("ended"),
    }
    rows += [[name, _words(value)] for name, value in told.items() if value is not None]
    if isinstance(command := meta.get("command"), list):
        rows.append(["command", " ".join(map(str, command))])
    return Table("How it stands", ["", ""], rows)


def _figures(record: RunRecord) -> list[Block]:
    rows = []
    for metric, figure in record.figures.items():
        facts = record.facts(metric)
        told = readable(metric, figure["mean"], figure["ci95"])
        validation = record.validation(metric)
        shown = "" if math.isnan(validation) else readable(metric, validation)
        rows.append([metric, told, f"{figure['episodes']:,}", shown, _words(facts.get("transduction", ""))])
    head = ["figure", "test, ± 95% over episodes", "episodes", "validation", "a prediction saw"]
    return [Table("Test", head, rows, frozenset({1, 2, 3}))] if rows else []


def _charts(record: RunRecord, smoothing: float) -> list[Block]:
    """A chart a metric, training and validation in one."""
    curves = curves_of(record)
    names = [name for name in of_names([curves]) if name.partition("/")[0] in ("train", "val")]
    ends = list(dict.fromkeys(name.partition("/")[2] for name in names))
    blocks: list[Block] = []
    for metric in ends:
        traces = []
        for number, split in enumerate(("train", "val")):
            if (curve := curves.get(f"{split}/{metric}")) is not None:
                traces.append(
                    {
                        "type": "scatter",
                        "mode": "lines+markers" if curve.steps.size < 40 else "lines",
                        "x": numbers(curve.steps),
                        "y": numbers(smoothed(curve.values, smoothing)),
                        "name": {"train": "training", "val": "validation"}[split],
                        "line": {"color": COLOURS[number], "dash": DASHES[number]},
                    }
                )
        axes = layout({"title": {"text": "outer updates"}}, axis_of(metric))
        blocks.append(Chart(metric, f"{metric} in training and validation.", traces, axes, height=320))
    return [*blocks[:2], *([Folded(f"{len(blocks) - 2} more curves", blocks[2:])] if len(blocks) > 2 else [])]


def _evaluations(record: RunRecord) -> list[Block]:
    """The tests that were made of it later."""
    rows = []
    folder = RunFolder(record.run).evaluations
    for path in _inside(folder) if record.kind == "run" else ():
        try:
            result = read_json(path / "result.json")
            tested = {name: readable(name, one["mean"], one["ci95"]) for name, one in result["test"].items()}
        except (MetamtlError, KeyError, TypeError, ValueError):
            tested, result = {"": "no figures yet"}, {}
        task = result.get("task") if isinstance(result.get("task"), dict) else {}
        rows.append([path.name, flat_words(task or {}), ", ".join(f"{k} {v}".strip() for k, v in tested.items())])
    return [Table("Evaluations", ["id", "task", "test"], rows)] if rows else []


def _checkpoints(record: RunRecord) -> list[Block]:
    rows = []
    for path in _inside(RunFolder(record.run).checkpoints):
        if path.suffix != ".pt":
            continue
        try:
            info = read_json(path.with_suffix(".json"))
            size = f"{path.stat().st_size / 1e6:,.2f} MB"
        except (MetamtlError, OSError):
            info, size = {}, ""
        told = info if isinstance(info, dict) else {}
        rows.append([path.name, size, _words(told.get("step", "")), str(told.get("sha256", ""))[:12]])
    return [Table("Checkpoints", ["file", "size", "step", "sha256"], rows, frozenset({1, 2}))] if rows else []


def _log(record: RunRecord) -> list[Block]:
    try:
        with record.folder.log_file.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = _UNSEEN.sub("", text).splitlines()
    # the first line of a tail is torn
    return [Pre("The end of its log", "\n".join(lines[1:] if size > _LOG_BYTES else lines))] if lines else []


def _pictures(record: RunRecord) -> list[Block]:
    """Confusion, adaptation, embeddings, affinity: whatever the run has drawn into plots/."""
    blocks: list[Block] = []
    for path in _inside(RunFolder(record.path).plots):
        try:
            if path.suffix != ".png" or path.is_symlink() or path.stat().st_size > _LARGEST_PICTURE:
                continue
            content = path.read_bytes()
        except OSError:
            continue
        if content.startswith(_PNG):
            blocks.append(Image(path.stem, f"data:image/png;base64,{base64.b64encode(content).decode()}"))
    return [Folded("Pictures in its folder", blocks[:_MOST_PICTURES])] if blocks else []


def _environment(record: RunRecord) -> list[Block]:
    meta = {name: record.meta[name] for name in ("versions", "git", "processes", "threads") if record.meta.get(name)}
    result: Mapping[str, Any] = {**(record.result or {})}
    cost = {name: result[name] for name in ("train", "model", "best", "gap", "engine") if result.get(name)}
    tables = [_settings(title, part) for title, part in (("Environment", meta), ("Cost and choice", cost)) if part]
    return [Folded("Environment and cost", tables)] if tables else []


def _config(record: RunRecord) -> list[Block]:
    return [Folded("Config", [_settings("Config", record.config)])] if record.config else []


def _settings(title: str, part: Mapping[str, Any]) -> Table:
    return Table(title, ["key", "value"], list(_rows(part)))


def _rows(part: Mapping[str, Any], prefix: str = "") -> Iterable[Sequence[Cell]]:
    for key, value in part.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{key}.")
        else:
            yield [f"{prefix}{key}", _words(value)]


def flat_words(part: Mapping[str, Any]) -> str:
    """`ways 5, shots 1`."""
    return ", ".join(f"{key} {_words(value)}" for key, value in part.items())


def _words(value: Any) -> str:
    return value if isinstance(value, str) else shown_value(value)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
