"""What a trained learner costs where it is used: arithmetic, time and memory of one new task."""

from __future__ import annotations

import copy
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from metamtl.backbones.recall import anew
from metamtl.build import Parts
from metamtl.data.examples import ExampleSource
from metamtl.data.sampler import eval_key
from metamtl.evaluation.examples import outputs_of_examples
from metamtl.runs.result import Cost

REPEAT = 5  # after one that is not counted


def cost_of(parts: Parts) -> Cost:
    """Of adapting to the first task of the test and predicting its queries; of predicting the first ordinary example.

    `flops` counts a multiplication and an addition as two, of products and convolutions; `latency_ms` is the median of
    five runs; `peak_mb` is the most memory (10^6 bytes) that the process, or its GPU, has held until now.
    """
    with torch.no_grad(), parts.testing(), parts.autocast():
        once = _example(parts) if isinstance(parts.source, ExampleSource) else _task(parts)
        with FlopCounterMode(display=False) as counter:
            once()
        with anew():  # a new task's examples have not come before
            seconds = [_timed(parts, once) for _ in range(REPEAT)]
    return Cost(
        flops=int(counter.get_total_flops()), latency_ms=1e3 * statistics.median(seconds), peak_mb=_peak_mb(parts)
    )


def _task(parts: Parts) -> Callable[[], object]:
    split = parts.config["eval"]["split"]
    key = eval_key(parts.config["eval"]["seed"], parts.source, split, parts.test_shape)
    (arrays,) = parts.source.episodes(split, parts.test_shape, np.arange(1), key)
    batch = parts.preparation.batch(arrays)
    engine = copy.copy(parts.engine)
    engine.plan = replace(engine.plan, workers=1)  # in this thread, whose operators are counted
    return lambda: engine.evaluate([batch])


def _example(parts: Parts) -> Callable[[], object]:
    assert isinstance(parts.source, ExampleSource)
    items = parts.source.items(parts.config["eval"]["split"])[:1]
    return lambda: outputs_of_examples(parts, items)


def _timed(parts: Parts, once: Callable[[], object]) -> float:
    started = time.perf_counter()
    once()
    if parts.device.type == "cuda":
        torch.cuda.synchronize(parts.device)
    return time.perf_counter() - started


def _peak_mb(parts: Parts) -> float:
    if parts.device.type == "cuda":
        return torch.cuda.max_memory_allocated(parts.device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
