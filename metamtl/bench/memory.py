"""Peak memory of one meta-gradient, in a process of its own: what the first step needs above what was there before it.

Linux keeps each process's highest resident size and can set it back, so the peak of the step alone is read, and of all
processes that take part, added up. Elsewhere it is what the process's highest size has grown by. Of a GPU's memory
torch keeps count.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import torch

from metamtl.bench.shapes import Shape
from metamtl.errors import MetamtlError

PROC = Path("/proc")


def peak_mb(shape: Shape, order: str, who: str, inner_steps: int | None) -> float:
    """Megabytes (10^6) that the step of `who` adds at its peak; None takes the shape's own number of inner steps."""
    extra = [] if inner_steps is None else [f"algo.inner_steps={inner_steps}"]
    task = json.dumps([shape.name, list(shape.overrides), shape.image, order, who, extra])
    done = subprocess.run([sys.executable, "-m", __name__, task], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MetamtlError(f"The memory of {who} at {shape.name} was not measured: {done.stderr.strip()[-300:]}")
    return float(done.stdout.split()[-1])


def _measured(task: str) -> float:
    import_module("torch._dynamo")  # torch.func imports it when first used, which is no memory of the step
    from metamtl.bench.contenders import stepper
    from metamtl.bench.problem import make_problem

    name, overrides, image, order, who, extra = json.loads(task)
    shape = Shape(name, tuple(overrides), None if image is None else tuple(image))
    problem = make_problem(shape, order, *extra)
    with stepper(who, problem) as step:
        if problem.parts.device.type == "cuda":
            at_first = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            step()
            return (torch.cuda.max_memory_allocated() - at_first) / 1e6
        before = {pid: _kilobytes(pid, "VmRSS") for pid in _family()} if PROC.is_dir() else {}
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for pid in before:
            (PROC / str(pid) / "clear_refs").write_text("5")
        step()
        if not before:
            unit = 1 if sys.platform == "darwin" else 1024
            return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - highest) * unit / 1e6
        return sum(_kilobytes(pid, "VmHWM") - before.get(pid, 0) for pid in _family()) * 1024 / 1e6


def _family() -> list[int]:
    """This process and all that it has started, in turn."""
    found = [os.getpid()]
    for pid in found:
        for children in (PROC / str(pid) / "task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def _kilobytes(pid: int, key: str) -> int:
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), 0)  # a dead one has none


if __name__ == "__main__":
    print(_measured(sys.argv[1]))
