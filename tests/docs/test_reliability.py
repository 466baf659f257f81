"""Every test that the table of faults names is there, and every fault has one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def _rows() -> list[str]:
    """The rows of the tables of faults, which end before what was measured."""
    tables = PAGE.partition("## Measured")[0].splitlines()
    return [line for line in tables if line.startswith("| ") and not line.startswith("| fault")]


def _defined(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_row_names_tests_that_exist() -> None:
    rows = _rows()
    assert len(rows) > 25
    for row in rows:
        named = NAMED.findall(row)
        assert named, f"no test in: {row}"
        for file, test in named:
            assert test in _defined(file), f"{file} has no {test}"


def test_every_test_of_faults_is_in_the_table() -> None:
    named = set(NAMED.findall(PAGE))
    files = sorted((ROOT / "tests" / "faults").glob("test_*.py"))
    guards = {"test_the_search_finds_what_is_there"}  # of tests themselves
    assert len(files) > 5
    missing = [
        f"{file.name}::{test}"
        for file in files
        for test in _defined(str(file.relative_to(ROOT)))
        if (str(file.relative_to(ROOT)), test) not in named and test not in guards
    ]
    assert missing == []
