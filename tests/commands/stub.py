"""metamtl in a process of its own, with a trainer that only says what it was called with.

The stub is put in place by a `sitecustomize.py` on PYTHONPATH, so that joblib's workers have it too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

STUB = """
import json, os, sys, time, types

def train_run(config, command, folder):
    line = {"config": config, "command": list(command), "folder": folder and str(folder)}
    line["torch"] = "torch" in sys.modules
    with open(os.environ["STUB_CALLS"], "a") as calls:
        calls.write(json.dumps(line) + "\\\\n")
    if config["seed"] == 13:
        raise RuntimeError("thirteen is unlucky")
    time.sleep(float(os.environ.get("STUB_SECONDS", "0")))

module = types.ModuleType("metamtl.trainer.run")
module.train_run = train_run
sys.modules["metamtl.trainer.run"] = module
""".replace("\\\\n", "\\n")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment in which the stub is used; calls are recorded in `folder/calls.jsonl`."""
    (folder / "sitecustomize.py").write_text(STUB, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name != "RANK"}
    return {**kept, "PYTHONPATH": str(folder), "STUB_CALLS": str(folder / "calls.jsonl"), **more}


def run(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m metamtl ARGUMENTS` in `folder` to its end."""
    command = [sys.executable, "-m", "metamtl", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(folder, **more), capture_output=True, text=True, timeout=120
    )
