"""Tasks that the chosen data cannot make, as far as its option file says how many classes and examples it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamtl.config.library import Option
from metamtl.config.stages import SECTION, stage_options


def impossible_tasks(config: Mapping[str, Any], data: Option) -> list[str]:
    """One sentence for each split and task that do not fit; a range like [5, 20] counts by its largest.

    `about.classes` maps a split to its number of classes, or a value of `data.split` to such a map. The counts hold for
    the option as it is written: where the user changed a key of it, the data itself is asked when it is opened.
    """
    if _changed(config, data):
        return []
    problems = []
    for where, task, split in _uses(config):
        ways, shots, queries = (_largest(task.get(name)) for name in ("ways", "shots", "queries"))
        classes = _classes(config, data, split)
        if classes is not None and ways > classes:
            problems.append(f"{where}.ways={ways}: data={data.name} has {classes} classes in its {split} split.")
        examples = data.about.get("examples_per_class")
        if isinstance(examples, int) and shots + queries > examples:
            problems.append(
                f"{where}.shots={shots} and {where}.queries={queries} take {shots + queries} examples of a class: "
                f"data={data.name} has {examples}."
            )
    return list(dict.fromkeys(problems))


def _uses(config: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], str]]:
    """Where tasks are drawn: the config's key, the task, the split."""
    tested = {"val", config["eval"]["split"]}
    trainer = config["trainer"]
    stages = [
        (f"{SECTION}.{name}.task", stage_options(trainer, name)["task"], "train")
        for name, own in trainer["stages"].items()
        if "task" in own
    ]
    return [("trainer.task", trainer["task"], "train"), *stages] + [
        ("task", config["task"], split) for split in ("train", "val", "test") if split in tested
    ]


def _classes(config: Mapping[str, Any], data: Option, split: str) -> int | None:
    counts = data.about.get("classes")
    if not isinstance(counts, dict):
        return None
    variant = counts.get(config["data"].get("split"))
    count = (variant if isinstance(variant, dict) else counts).get(split)
    return count if isinstance(count, int) else None


def _changed(config: Mapping[str, Any], data: Option) -> bool:
    written, counts = data.raw.get("data") or {}, data.about.get("classes")
    by_variant = isinstance(counts, dict) and any(isinstance(count, dict) for count in counts.values())
    settled = {key for key, entry in data.entries.items() if any(kind.text == "a path" for kind in entry.kinds)}
    ignored = {key.removeprefix("data.") for key in settled} | ({"split"} if by_variant else set())
    return any(config["data"].get(key) != value for key, value in written.items() if key not in ignored)


def _largest(value: Any) -> int:
    return int(max(value) if isinstance(value, list) else value)
