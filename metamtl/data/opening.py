"""Opens the data of a config and refuses tasks that it cannot make, before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metamtl.data.source import DataPaths, Range, Source, Split, TaskShape
from metamtl.errors import UsageError
from metamtl.registry import build


def task_shape(section: Mapping[str, Any]) -> TaskShape:
    """The shape that `task` or `trainer.task` of a config asks for."""

    def size(value: Any) -> int | Range:
        return value if isinstance(value, int) else (int(value[0]), int(value[1]))

    return TaskShape(size(section["ways"]), size(section["shots"]), int(section["queries"]))


def train_shapes(trainer: Mapping[str, Any]) -> list[TaskShape]:
    """The shapes of training tasks: that of `trainer.task`, and those that earlier stages have of their own."""
    own = (stage.get("task", {}) for stage in trainer["stages"].values())
    return [task_shape({**trainer["task"], **task}) for task in ({}, *own)]


def data_paths(section: Mapping[str, Any]) -> DataPaths:
    """The folders of the config's `paths`, `~` expanded."""
    data = section["data"]
    return DataPaths(Path(data).expanduser() if data else None, Path(section["cache"]).expanduser())


def open_source(config: Mapping[str, Any]) -> Source:
    """The data set of a config, packed; UsageError with every reason why it cannot make the tasks asked for."""
    source: Source = build("data", config["data"], paths=data_paths(config["paths"]))
    test = task_shape(config["task"])
    asked: list[tuple[Split, TaskShape]] = [("train", shape) for shape in train_shapes(config["trainer"])]
    asked += [("val", test), (config["eval"]["split"], test)]
    problems = [problem for split, shape in asked for problem in source.problems(split, shape)]
    problems += _too_few_outside(source, config["eval"]["split"], config["eval"]["outside"])
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    return source


def _too_few_outside(source: Source, split: Split, count: int) -> list[str]:
    """A sentence where a test is to be given more examples of no class than there are."""
    pool = source.outside(split) if count else None
    has = 0 if pool is None else len(pool)
    if has >= count:
        return []
    return [f"eval.outside={count}: {source.name} has {has or 'none'} of no class in its {split} split."]
