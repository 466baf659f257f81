"""Whatever a stream holds and wherever it is cut, whole lines are read as they were written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metamtl.runs.files import from_json, to_json
from metamtl.runs.metrics import MetricStream, read
from metamtl.runs.redact import HIDDEN, redact_command, redact_config, redact_text

FEW = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in ("step", "split")
)
LINES = st.lists(
    st.tuples(st.integers(0, 2**53), st.sampled_from(["train", "val", "test"]), st.dictionaries(NAMES, st.floats())),
    max_size=6,
)


def _written(path: Path, lines: list[tuple[int, str, dict[str, float]]]) -> list[dict[str, Any]]:
    path.unlink(missing_ok=True)
    with MetricStream(path) as stream:
        for step, split, values in lines:
            stream.write(step, split, values)
    return [{"step": step, "split": split, **values} for step, split, values in lines]


def _same(one: Any, other: Any) -> bool:
    return to_json(one) == to_json(other)  # in which NaN equals itself


@FEW
@given(lines=LINES)
def test_a_stream_reads_back_as_it_was_written(tmp_path: Path, lines: list[tuple[int, str, dict[str, float]]]) -> None:
    written = _written(tmp_path / "metrics.jsonl", lines)
    assert _same(read(tmp_path / "metrics.jsonl"), written)


@FEW
@given(lines=LINES, data=st.data())
def test_a_stream_cut_anywhere_gives_its_whole_lines_and_goes_on(
    tmp_path: Path, lines: list[tuple[int, str, dict[str, float]]], data: st.DataObject
) -> None:
    path = tmp_path / "metrics.jsonl"
    written = _written(path, lines)
    content = path.read_bytes()
    path.write_bytes(content[: (cut := data.draw(st.integers(0, len(content))))])
    whole = written[: content[:cut].count(b"\n")]
    assert _same(read(path), whole)
    with MetricStream(path) as stream:
        stream.write(7, "val", {})
    assert _same(read(path), [*whole, {"step": 7, "split": "val"}])


@FEW
@given(lines=LINES, junk=st.binary(max_size=40), place=st.integers(0, 10**6))
def test_bytes_from_elsewhere_spoil_at_most_the_line_they_are_in(
    tmp_path: Path, lines: list[tuple[int, str, dict[str, float]]], junk: bytes, place: int
) -> None:
    path = tmp_path / "metrics.jsonl"
    written = _written(path, lines)
    content = path.read_bytes()
    place %= len(content) + 1
    path.write_bytes(content[:place] + junk.replace(b"\n", b" ") + content[place:])
    hit = content[:place].count(b"\n")
    found, after = read(path), written[hit + 1 :]
    assert _same(found[:hit], written[:hit])
    assert _same(found[len(found) - len(after) :], after)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), NAMES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


@FEW
@given(value=VALUES)
def test_json_reads_back_as_it_was_written(value: Any) -> None:
    read_back = from_json(to_json(value))
    assert _same(read_back, value)
    assert not isinstance(value, float) or isinstance(read_back, float)
    assert not (isinstance(value, float) and math.isnan(value)) or math.isnan(read_back)


SECRETS = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEF0123456789_-"), min_size=12, max_size=40).filter(
    lambda text: any(letter.isalpha() for letter in text) and not text.startswith("-")
)
SECRET_NAMES = st.sampled_from(
    ["api_key", "WANDB_API_KEY", "hf-token", "db.password", "clientSecret", "logger.wandb.api_key", "auth_token"]
)


@FEW
@given(name=SECRET_NAMES, secret=SECRETS, before=st.sampled_from(["", "train ", "x=1 "]), quote=st.sampled_from("'\" "))
def test_no_secret_is_left_however_it_is_given(name: str, secret: str, before: str, quote: str) -> None:
    quote = quote.strip()
    for line in (f"{name}={quote}{secret}{quote}", f"+{name}={secret}", f"--{name}={secret}", f"{{{name}:{secret}}}"):
        assert secret not in " ".join(redact_command(["metamtl", line])), line
        assert HIDDEN in redact_text(before + line) and secret not in redact_text(before + line), line
    assert secret not in str(redact_command(["metamtl", f"--{name}", secret]))
    assert secret not in redact_text(f"{{'{name}': '{secret}'}}")
    assert secret not in str(redact_config({"a": [{"api_key": secret, "password": [secret]}]}))
