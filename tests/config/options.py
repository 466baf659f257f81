"""A user's own folder of options, for tests that must not lean on the shipped ones."""

from __future__ import annotations

from pathlib import Path

TOY = """# @package _global_
defaults:
  - override /backbone: mlp
about:
  summary: Made up
  keys:
    split: a | b; which
    root: path?; where
  classes: {train: 30, val: 10, test: 12}
  examples_per_class: 20
data:
  name: toy
  split: a
  root: null
trainer:
  meta_batch: 7
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files by their path in `folder`."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
