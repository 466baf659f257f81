"""result.json: the figures of a run or an evaluation; episodes.npy: those of each episode."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from metamtl.errors import MetamtlError
from metamtl.runs.files import clear_disk_errors, read_json, sha256_of, write_atomic, write_json
from metamtl.runs.folder import RecordFolder
from metamtl.runs.units import readable


class Summary(TypedDict):
    """One metric over episodes: mean, half width of the 95% confidence interval, number of episodes."""

    mean: float
    ci95: float
    episodes: int


class Training(TypedDict, total=False):
    """Outer updates of all stages, tasks (in supervised stages examples) a second, wall-clock seconds.

    `data_wait` is the share of these seconds in which updates waited for their data, `step_ms` an update's mean time,
    of which the weighting of several families takes `weighting_ms`.
    """

    steps: int
    tasks_per_second: float
    seconds: float
    data_wait: float
    step_ms: float
    weighting_ms: float


class Model(TypedDict):
    """Numbers of parameters, and of those that training changes."""

    parameters: int
    trainable: int


class Cost(TypedDict):
    """Of one new task, or one ordinary example (metamtl.evaluation.cost)."""

    flops: int
    latency_ms: float
    peak_mb: float


class Record(TypedDict, total=False):
    """One family's figures, and how they came about: each maps a metric, such as accuracy or mse, to its summary.

    `gap` is the meta-train figure minus the meta-test figure of a metric.
    """

    test: dict[str, Summary]
    val: dict[str, Summary]
    meta_train: dict[str, Summary]
    gap: dict[str, float]
    metric: str  # the one that validation selects by
    robustness: dict[str, list[dict[str, Any]]]  # the metric at each severity (metamtl.evaluation.robustness)
    cost: Cost
    choices: list[dict[str, Any]]  # what eval.choose tried on validation, the one that was tested first
    episodes_id: str  # equal for two runs whose episodes are the same, pair by pair
    split: str
    task: dict[str, Any]  # ways, shots, queries of the episodes; empty for ordinary labelled examples
    normalisation: str  # the statistics that normalisation layers used at test
    transduction: str  # what a prediction saw of the other queries
    engine: dict[str, Any]  # how the engine ran the task axis
    data: dict[str, Any]  # facts of the source: classes present per split, its licence, its split
    inputs: dict[str, Any]  # what a network must know of the data to be built without it (metamtl.data.inputs)


class Result(Record, total=False):
    """Everything in result.json; with several families each has its record under its name in `families`."""

    train: Training
    model: Model
    best: dict[str, float]  # `step` and the validation metric, such as `val/accuracy`
    families: dict[str, Record]
    transfer: dict[str, Any]  # the strategies, and where their knowledge comes from (metamtl.transfer.knowledge)
    relatedness: dict[
        str, Any
    ]  # affinities and cosines between families, means over training (metamtl.trainer.relatedness)
    selection: dict[str, Any]  # of an adaptation, the target's figure by each criterion (metamtl.trainer.selection)
    sequence: dict[str, Any]  # accuracies after every stage, ACC, BWT, FWT, forgetting (metamtl.evaluation.continual)
    references: dict[str, Any]  # each family against itself alone, or a transfer against none (metamtl.trainer)
    episodes_columns: list[str]  # the metric of each column of episodes.npy
    episodes_sha256: str  # of episodes.npy, which is written first


def summary(values: NDArray[Any]) -> Summary:
    """Mean and 95% interval 1.96 sd / sqrt(n) over the n episodes in `values` [n]; sd divides by n - 1.

    The interval of a single episode is NaN; raises ValueError for none, or for more than one axis.
    """
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"expected the figures of one episode or more on one axis, got {values.shape}")
    figures = values.astype(np.float64)
    count = figures.size
    interval = 1.96 * float(figures.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return {"mean": float(figures.mean()), "ci95": interval, "episodes": count}


def share(held: NDArray[np.bool_]) -> dict[str, float]:
    """The `rate` at which something held, with its 95% interval `low` to `high`.

    Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22: it stays within [0, 1]
    and has a length where nothing, or everything, held. Raises ValueError for no observation.
    """
    if held.size == 0:
        raise ValueError("a rate of nothing")
    count, rate, z = held.size, float(held.mean()), 1.96
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return {"rate": rate, "low": max(0.0, middle - half), "high": min(1.0, middle + half)}


def describe(record: Record, metric: str) -> str:
    """One line for a person: `test accuracy 98.10% ± 0.20 over 1000 episodes of the test split`."""
    test, split = record["test"][metric], record["split"]
    counted = f"{test['episodes']} episodes" if record["task"] else f"the {test['episodes']} examples"
    return f"test {metric} {readable(metric, test['mean'], test['ci95'])} over {counted} of the {split} split"


def write_result(folder: RecordFolder, result: Result, episodes: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Writes result.json, before it episodes.npy from `episodes`: metric -> figures [n] in episode order.

    With several families the metrics are named `family/metric`, and shorter columns end in NaN. The array is
    float64 [n, metrics]. Raises MetamtlError where the disk refuses; result.json is whole, or as it was.
    """
    complete = Result(**result)
    if episodes:
        payload = _as_npy(list(episodes.values()))
        write_atomic(folder.episodes_file, payload)
        complete["episodes_columns"] = list(episodes)
        complete["episodes_sha256"] = sha256_of(payload)
    write_json(folder.result_file, complete)


def read_result(folder: RecordFolder) -> Result:
    """The content of result.json; raises MetamtlError where the run has none yet, or a damaged one."""
    if not folder.result_file.exists():
        raise MetamtlError(f"{folder.path} has no result.json: it has not finished an evaluation yet.")
    result = read_json(folder.result_file)
    if not isinstance(result, dict):
        raise MetamtlError(f"{folder.result_file} is damaged: it holds no result.")
    return cast(Result, result)


def read_episodes(folder: RecordFolder) -> dict[str, NDArray[np.float64]]:
    """Metric -> the figures [n] of each episode; raises MetamtlError where result.json has others."""
    result = read_result(folder)
    columns, path = result.get("episodes_columns"), folder.episodes_file
    if not columns:
        raise MetamtlError(f"{folder.path} has kept no figures of single episodes.")
    with clear_disk_errors(path, doing="read"):
        payload = path.read_bytes()
    if sha256_of(payload) != result.get("episodes_sha256"):
        raise MetamtlError(f"{path} is not the file that belongs to result.json: run the evaluation again.")
    array: NDArray[np.float64] = np.load(io.BytesIO(payload), allow_pickle=False)
    return {column: array[:, number] for number, column in enumerate(columns)}


def _as_npy(columns: Sequence[NDArray[Any]]) -> bytes:
    array = np.full((max(column.size for column in columns), len(columns)), np.nan, dtype=np.float64)
    for number, column in enumerate(columns):
        array[: column.size, number] = column
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
