"""One run: how it stands, what it found, its curves, checkpoints, pictures, log, environment and config."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metamtl.comparison.names import whole_value
from metamtl.comparison.record import RunRecord
from metamtl.dashboard.blocks import STATES, Block, Cell, Chart, Folded, Image, Pre, Progress, Table, Text
from metamtl.dashboard.charts import COLOURS, DASHES, axis_of, layout, numbers
from metamtl.dashboard.pages.headlines import of_records, of_streams
from metamtl.dashboard.pages.parts import choices
from metamtl.dashboard.pages.verdicts import verdicts
from metamtl.dashboard.streams import curves_of, smoothed
from metamtl.dashboard.view import SMOOTHINGS, View
from metamtl.dashboard.watch import Snapshot, identity
from metamtl.errors import MetamtlError
from metamtl.runs.files import read_json
from metamtl.runs.folder import RunFolder
from metamtl.runs.units import readable

_LOG_BYTES = 1 << 14
_LARGEST_PICTURE = 4 << 20
_MOST_PICTURES = 12
_MOST_CURVES = 5
_SCORE = "What selects: the mean over families of their figures' relative changes since the first validation."
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
    blocks += [*_figures(record), *verdicts(record), *(smoothing if charts else []), *charts, *_evaluations(record)]
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
        "started": _moment(meta.get("started")),
        "ended": _moment(meta.get("ended")),
    }
    rows += [[name, _words(value)] for name, value in told.items() if value is not None]
    if isinstance(command := meta.get("command"), list):
        rows.append(["command", " ".join(map(str, command))])
    return Table("How it stands", ["", ""], rows)


def _moment(told: Any) -> str | None:
    """`2026-11-23 13:43:57 UTC`."""
    return f"{str(told)[:19].replace('T', ' ')} UTC" if told else None


def _figures(record: RunRecord) -> list[Block]:
    ordered = of_records([record])
    rows = [_figure(record, metric) for metric in (*ordered.first, *ordered.others)]
    head = ["figure", "test, ± 95% over episodes", "episodes", "validation", "a prediction saw"]
    table: list[Block] = [Table("Test", head, rows, frozenset({1, 2, 3}))] if rows else []
    return [*table, *_of_types(record, ordered.single)]


def _figure(record: RunRecord, metric: str) -> list[Cell]:
    figure, validation = record.figures[metric], record.validation(metric)
    told = readable(metric, figure["mean"], figure["ci95"])
    shown = "" if math.isnan(validation) else readable(metric, validation)
    saw = _words(record.facts(metric).get("transduction", ""))
    return [metric, told, f"{figure['episodes']:,}", shown, saw]


def _of_types(record: RunRecord, single: Sequence[str]) -> list[Block]:
    """Of each family a table of its types, which are asked for: there may be dozens."""
    families: dict[str, dict[str, dict[str, str]]] = {}
    for metric in single:
        family, kind, of_type = record.parted(metric)
        figure = record.figures[metric]
        cells = families.setdefault(family, {}).setdefault(of_type, {})
        cells[kind] = readable(metric, figure["mean"], figure["ci95"])
    blocks: list[Block] = []
    for family, types in families.items():
        kinds = list(dict.fromkeys(kind for cells in types.values() for kind in cells))
        rows = [[of_type, *(cells.get(kind, "") for kind in kinds)] for of_type, cells in sorted(types.items())]
        table = Table("Test, by type", ["type", *kinds], rows, frozenset(range(1, len(kinds) + 1)))
        blocks.append(Folded(f"{family}: {len(rows)} types one by one".removeprefix(": "), [table]))
    return blocks


def _charts(record: RunRecord, smoothing: float) -> list[Block]:
    """A chart a metric, training and validation in one."""
    curves = curves_of(record)
    ordered = of_streams([curves])
    names = [name for name in ordered.every if name.partition("/")[0] in ("train", "val")]
    first = {name.partition("/")[2] for name in ordered.first}
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
        splits = " and ".join(str(trace["name"]) for trace in traces)
        summary = _SCORE if metric == "score" else f"{metric} in {splits}."
        blocks.append(Chart(metric, summary, traces, axes, height=320))
    shown = max(2, min(len(first), _MOST_CURVES))
    rest = blocks[shown:]
    return [*blocks[:shown], *([Folded(f"{len(rest)} more curves", rest)] if rest else [])]


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
    return value if isinstance(value, str) else whole_value(value)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
