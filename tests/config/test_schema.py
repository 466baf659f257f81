"""The little language of types in option files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metamtl.config.library import Library
from metamtl.config.paths import own_folder
from metamtl.config.schema import MismatchError, parse_entry
from metamtl.errors import MetamtlError


@pytest.mark.parametrize(
    ("text", "value", "read"),
    [
        ("int >= 1", 3, 3),
        ("int >= 1", 1e3, 1000),
        ("float > 0", 1, 1.0),
        ("float? >= 0", None, None),
        ("float in [0, 1)", 0, 0.0),
        ("str?", 12, "12"),
        ("bool", True, True),
        ("a | b", "b", "b"),
        ("28 | 84", 84, "84"),
        ("list[int]", [1, 2.0], [1, 2]),
        ("int >= 2 | range", [5, 20], [5, 20]),
        ("auto | int >= 1", "auto", "auto"),
        ("map", {"a": {"b": 1}}, {"a": {"b": 1}}),
        ("map[float >= 0]", {"a": 1, "b": 0.5}, {"a": 1.0, "b": 0.5}),
        ("path? | map[str]", {"a": 1}, {"a": "1"}),
    ],
)
def test_values_are_read_in_their_type(text: str, value: Any, read: Any) -> None:
    got = parse_entry(text + "; help", "here").read(value)
    assert got == read
    assert type(got) is type(read)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("int >= 1", 0),
        ("int >= 1", 1.5),
        ("int >= 1", True),
        ("int >= 1", "3"),
        ("float > 0", 0.0),
        ("float in [0, 1)", 1.0),
        ("float in (0, 1]", 0.0),
        ("float", float("nan")),
        ("bool", 1),
        ("int", None),
        ("a | b", "c"),
        ("a | b", None),
        ("list[int]", 3),
        ("list[int]", ["x"]),
        ("list[int >= 1]", [0]),
        ("int >= 2 | range", [20, 5]),
        ("int >= 2 | range", [1, 5]),
        ("int >= 2 | range", [2, 3, 4]),
        ("path", ""),
        ("map", [1]),
        ("map[float >= 0]", [1]),
        ("map[float >= 0]", {"a": 1, "b": "two"}),
        ("map[float >= 0]", {"a": -1}),
        ("map[float >= 0]", {"a": float("nan")}),
    ],
)
def test_other_values_are_refused(text: str, value: Any) -> None:
    with pytest.raises(MismatchError):
        parse_entry(text + "; help", "here").read(value)


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.chdir(tmp_path)
    entry = parse_entry("path?; help", "here")
    assert entry.read("~/data") == "/home/someone/data"
    assert entry.read("outputs") == str(tmp_path / "outputs")


def test_the_message_says_what_is_wanted() -> None:
    entry = parse_entry("float? >= 0 | auto; help", "here")
    assert entry.wanted() == "auto or a number >= 0 or null"
    assert entry.help == "help"
    assert parse_entry("map[float >= 0]; help", "here").wanted() == "a mapping, each value a number >= 0"
    with pytest.raises(MismatchError, match="did you mean second"):
        parse_entry("first | second; order", "here").read("secnd")


@pytest.mark.parametrize("text", ["int >= x", "int of 3", "two words", "float in 0, 1"])
def test_a_wrong_entry_is_told_with_its_place(text: str) -> None:
    with pytest.raises(MetamtlError, match=r"conf/x\.yaml: key"):
        parse_entry(f"{text}; help", "conf/x.yaml: key")


def test_every_shipped_option_declares_itself() -> None:
    library = Library([own_folder()])
    for option in [*library.options(), *library.primary.values()]:
        assert option.about.get("summary"), option.path
        assert all(entry.help for entry in option.entries.values()), option.path
