"""What an earlier stage of training has of its own, written under `trainer.stages.<name>`; it inherits the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SECTION = "trainer.stages"
# what of `trainer` a stage may have of its own; a name stands for all keys below it
OWN = ("steps", "batch_size", "meta_batch", "task", "optimizer", "schedule", "clip_norm", "clip_value")


def stage_options(trainer: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The section `trainer` as the stage `name` sees it."""
    own = trainer["stages"].get(name, {})
    return {**trainer, **{key: {**trainer[key], **v} if isinstance(v, Mapping) else v for key, v in own.items()}}


def trainer_key(path: str) -> str | None:
    """The key of `trainer` that `path`, such as `trainer.stages.pretrain.optimizer.lr`, stands for; None for others."""
    if not path.startswith(f"{SECTION}."):
        return None
    _, _, key = path.removeprefix(f"{SECTION}.").partition(".")
    return f"trainer.{key}" if key.split(".")[0] in OWN else None
