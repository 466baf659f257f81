"""Whatever is typed or written, a config is made or refused with sentences; nothing else comes of it."""

from __future__ import annotations

import copy
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metamtl.config.compose import compose, merge
from metamtl.config.schema import MismatchError, parse_entry
from metamtl.errors import UsageError
from metamtl.runs.config_file import read_config, write_config

FEW = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
ENTRIES = [
    "int >= 1", "float > 0", "float? in [0, 1)", "bool", "str?", "path", "map", "a | b | 84", "list[float]",
    "int >= 2 | range", "auto | list[int >= 1]",
]  # fmt: skip


@pytest.mark.parametrize("text", ENTRIES)
@FEW
@given(value=VALUES)
@example(value=10**400)
@example(value=[10**400])
@example(value=-math.inf)
def test_a_value_is_read_once_for_all_or_refused(text: str, value: Any) -> None:
    entry = parse_entry(f"{text}; help", "here")
    with suppress(MismatchError):
        read = entry.read(value)
        assert entry.read(read) == read
        assert not isinstance(read, float) or math.isfinite(read)


LINES = st.builds(
    "{}{}={}".format,
    st.sampled_from(["", "+", "++", "~"]),
    st.one_of(TEXT, st.sampled_from(["seed", "algo.inner_lr", "task.shots", "trainer", "label", "data"])),
    st.one_of(TEXT, st.integers().map(str), st.sampled_from(["[1,{a:2", "${seed}", "${oc.env:HOME}", "null", "???"])),
)


@pytest.fixture(scope="module")
def run_config() -> dict[str, Any]:
    return compose(["algo=maml", "data=sinusoid"])


@settings(FEW, max_examples=10)
@given(lines=st.lists(LINES, min_size=1, max_size=3))
@example(lines=["seed=" + "9" * 400])
@example(lines=["algo.inner_lr=" + "9" * 400])
def test_lines_over_a_runs_config_change_a_copy_or_are_each_refused(
    run_config: dict[str, Any], lines: list[str]
) -> None:
    before = copy.deepcopy(run_config)
    try:
        merged = merge(run_config, lines, list(run_config))
    except UsageError as refusal:
        assert all(problem and "Traceback" not in problem for problem in refusal.problems)
    else:
        assert merged.keys() == run_config.keys()
    assert run_config == before


@settings(FEW, max_examples=4)
@given(line=LINES)
@example(line="+=")
def test_a_line_composes_or_is_refused(line: str) -> None:
    with suppress(UsageError):
        assert compose(["data=sinusoid", line])["data"]["name"]


def _same(read: Any, written: Any) -> bool:
    if isinstance(written, float):
        return isinstance(read, float) and (read == written or (math.isnan(read) and math.isnan(written)))
    if isinstance(written, dict):
        return read.keys() == written.keys() and all(_same(read[key], written[key]) for key in written)
    if isinstance(written, list):
        return len(read) == len(written) and all(map(_same, read, written))
    return type(read) is type(written) and bool(read == written)


@FEW
@given(config=st.dictionaries(TEXT, VALUES, max_size=4))
@example(config={"a": "1e-3", "b": "null", "c": "~", "d": "2026-11-22", "e": "0o7", "f": "\x00\x85\ufeff"})
def test_a_config_reads_back_as_it_was_written(tmp_path: Path, config: dict[str, Any]) -> None:
    write_config(tmp_path / "config.yaml", config)
    assert _same(read_config(tmp_path / "config.yaml"), config)
