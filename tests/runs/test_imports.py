from __future__ import annotations

import pkgutil
import subprocess
import sys

import metamtl.runs
import metamtl.trackers


def test_runs_and_trackers_import_nothing_heavy() -> None:
    names = [
        module.name
        for package in (metamtl.runs, metamtl.trackers)
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
    ]
    assert len(names) >= 15
    program = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
print(*{{"torch", "matplotlib", "wandb", "tensorboard", "hydra", "omegaconf"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
