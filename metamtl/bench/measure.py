"""Times of alternating contenders: a machine's speed moves, so only what ran side by side is compared."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

LEAST = 0.05  # seconds of each step in a round


def alternate(steps: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """The median milliseconds of each step over `repeat` rounds.

    Every round runs each in turn: once, or as often as `LEAST` seconds take, as a short step after a long one finds its
    memory cold, and in a run comes after itself.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeat):
        for name, step in steps.items():
            times[name].append(1e3 * _seconds(step))
    return {name: statistics.median(found) for name, found in times.items()}


def _seconds(step: Callable[[], object]) -> float:
    started, count = time.perf_counter(), 0
    while True:
        step()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()  # a step has ended when its gradient is there
        count += 1
        if (spent := time.perf_counter() - started) >= LEAST:
            return spent / count


def geometric_mean(values: list[float]) -> float:
    """Of one value or more."""
    return statistics.geometric_mean(values)


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    packages = ("metamtl", "torch", "numpy", "higher", "torchopt", "learn2learn", "torchmeta", "jax")
    return {
        "processor": platform.processor() or platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: found for name in packages if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
