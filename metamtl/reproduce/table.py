"""A table of published results as YAML data: `metamtl/reproduce/tables/NAME.yaml`, or a file of one's own.

title: Omniglot, 5-way 1-shot
minutes: 4                      # of training a row, unless it says otherwise
seeds: [0]
overrides: [task.queries=15]    # of every row, so that all meet the same episodes
rows:
  - experiment: omniglot/protonet_5w1s   # or `algo: protonet`, the default recipe for the data of the overrides
    published: 98.8             # percent
    source: Snell et al. (2017), table 1
    deviations: what differs from the paper
    overrides: []
    baseline: true              # others are tested against the best of these
floor: centroid_5w1s            # the row that each is tested against as well; none by default
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from metamtl.config.hints import did_you_mean, nearest
from metamtl.errors import UsageError

TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class TableRow:
    """One result: the experiment, or the method by its default recipe, that gives it, and how it is to be read."""

    experiment: str = ""
    algo: str = ""
    published: float | None = None
    source: str = ""
    deviations: str = ""
    overrides: tuple[str, ...] = ()
    minutes: float | None = None
    baseline: bool = False

    @property
    def name(self) -> str:
        """A folder's name."""
        return self.algo or self.experiment.rpartition("/")[2]

    @property
    def option(self) -> str:
        """The override that chooses what is run."""
        return f"algo={self.algo}" if self.algo else f"experiment={self.experiment}"


@dataclass(frozen=True)
class Table:
    """Rows in the order in which they are run."""

    name: str
    title: str
    minutes: float
    rows: tuple[TableRow, ...]
    seeds: tuple[int, ...] = (0,)
    overrides: tuple[str, ...] = ()
    floor: str | None = None


def names() -> list[str]:
    """The tables that metamtl ships."""
    return sorted(path.stem for path in TABLES.glob("*.yaml"))


def read_table(name: str) -> Table:
    """The shipped table `name`, or that of a YAML file; UsageError for what it cannot be."""
    path = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else TABLES / f"{name}.yaml"
    if not path.is_file():
        hint = did_you_mean(nearest(name, names()))
        raise UsageError(f"{name}: there is no such table{hint} There are {', '.join(names())}; or give a YAML file.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("rows"), list) or not content["rows"]:
        raise UsageError(f"{path} must hold rows, each with an experiment or an algo; see metamtl/reproduce/table.py.")
    rows = tuple(TableRow(**_checked(row, TableRow, f"{path}: row {n + 1}")) for n, row in enumerate(content["rows"]))
    for n, row in enumerate(rows):
        if bool(row.experiment) == bool(row.algo):
            raise UsageError(f"{path}: row {n + 1}: give it either an experiment or an algo.")
    rest = _checked({"name": path.stem, **content, "rows": rows}, Table, str(path))
    repeated = [row.name for row in rows if [one.name for one in rows].count(row.name) > 1]
    if repeated:
        raise UsageError(f"{path} has two rows named {repeated[0]}: each needs an experiment or algo of its own.")
    table = Table(**rest)
    known = [row.name for row in rows]
    if table.floor is not None and table.floor not in known:
        raise UsageError(f"{path}: floor: no row {table.floor}{did_you_mean(nearest(table.floor, known))}")
    return table


def _checked(values: Any, kind: type[Table] | type[TableRow], where: str) -> dict[str, Any]:
    """The values as arguments of `kind`, lists as tuples."""
    known = {field.name: field for field in fields(kind)}
    if not isinstance(values, Mapping):
        raise UsageError(f"{where} must hold keys and values: {', '.join(known)}.")
    if wrong := [key for key in values if key not in known]:
        raise UsageError(f"{where}: {wrong[0]}: no such key{did_you_mean(nearest(str(wrong[0]), known))}")
    needed = () if kind is TableRow else ("title", "minutes")
    if missing := [key for key in needed if key not in values]:
        raise UsageError(f"{where} ({values.get('title', '?')}): {missing[0]} is missing.")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
