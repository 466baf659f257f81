"""A run of several families that is never stopped, and one that is stopped half-way and goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metamtl.runs.folder import RunFolder
from metamtl.trainer.run import resume_run, train_run


def unbroken_and_resumed(config: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of six updates, in one go and as three and three."""

    def run(steps: int, name: str) -> RunFolder:
        own = {
            "trainer": {**config["trainer"], "steps": steps},
            "paths": {**config["paths"], "outputs": str(folder / name)},
        }
        train_run({**config, **own}, ["metamtl"])
        (found,) = (folder / name).iterdir()
        return RunFolder(found)

    whole, broken = run(6, "whole"), run(3, "broken")
    resume_run(broken.path, ["trainer.steps=6"])
    first, second = (json.loads(one.result_file.read_text()) for one in (whole, broken))
    return first, second
