"""One damaged run stops no view of the others: every value of its files in turn is something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metamtl.comparison import formats
from metamtl.comparison.collect import collect
from metamtl.comparison.columns import differing, standard
from metamtl.comparison.compare import compare
from metamtl.comparison.groups import grouped
from metamtl.comparison.unfinished import unfinished
from tests.comparison.made import finished, several

OTHERS: list[Any] = [None, "x", [[1]], {"a": {"b": 1}}, -3]


def changed(value: Any) -> Iterator[Any]:
    """`value` with each part of it in turn replaced by something else."""
    yield from OTHERS
    if isinstance(value, dict):
        for key, inside in value.items():
            for other in changed(inside):
                yield {**value, key: other}
            yield {name: kept for name, kept in value.items() if name != key}


@pytest.mark.parametrize("name", ["meta.json", "config.yaml", "result.json"])
def test_whatever_a_file_holds_the_other_runs_are_compared(tmp_path: Path, name: str) -> None:
    whole = finished(tmp_path, "maml", changes={"families": {}})
    path = finished(tmp_path, "anil").path / name
    read, write = (yaml.safe_load, yaml.safe_dump) if name.endswith("yaml") else (json.loads, json.dumps)
    states = set()
    for content in changed(read(path.read_text())):
        path.write_text(write(content))
        records = collect([tmp_path])
        states |= {record.state for record in records if record.path == path.parent}
        comparison = compare(grouped(records))
        assert whole.path in {record.path for row in comparison.rows for record in row.group.counted}
        formats.markdown(comparison, [*standard(comparison), *differing(comparison)], unfinished(records))
        formats.json_text(comparison, unfinished(records))
    assert {"completed", "damaged"} <= states


def test_whatever_the_references_of_a_run_hold_the_other_runs_are_compared(tmp_path: Path) -> None:
    whole = several(tmp_path, {"road": (0.5, 0.4), "lane": (0.6, 0.8)}, 0)
    path = several(tmp_path, {"road": (0.5, 0.4), "lane": (0.6, 0.8)}, 1, "pcgrad").result_file
    states = set()
    for content in changed(json.loads(path.read_text())):
        path.write_text(json.dumps(content))
        records = collect([tmp_path])
        states |= {record.state for record in records if record.path == path.parent}
        comparison = compare(grouped(records), "delta_m")
        assert whole.path in {record.path for row in comparison.rows for record in row.group.counted}
        formats.markdown(comparison, [*standard(comparison), *differing(comparison)], unfinished(records))
        formats.json_text(comparison, unfinished(records))
    assert states == {"completed", "damaged"}


@pytest.mark.parametrize("text", ["a: &x {b: *x}", "a: &x [*x]", "? [1, 2]\n: 3", "seed: [1]", "seed: {a: 1}"])
def test_a_config_that_is_no_config_is_damaged(tmp_path: Path, text: str) -> None:
    run = finished(tmp_path)
    run.config_file.write_text(text)
    (record,) = collect([tmp_path])
    assert record.state == "damaged"
    assert "config.yaml is damaged" in str(record.reason)
    assert unfinished([record])[0].why == " ".join(str(record.reason).split())
