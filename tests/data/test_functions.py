"""Functions of several kinds, each of which lies in the space that its kind spans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamtl import registry
from metamtl.data.functions import KINDS, Functions
from metamtl.data.source import DataPaths, EpisodeArrays, TaskShape
from metamtl.errors import UsageError

SHAPE = TaskShape(5, 10, 20)


def made(*kinds: str, noise: float = 0.0) -> Functions:
    options = {"name": "functions", "kinds": list(kinds), "noise": noise}
    source = registry.build("data", options, paths=DataPaths(data=None, cache=Path("unused")))
    assert isinstance(source, Functions)
    return source


def points(source: Functions, count: int = 400) -> tuple[NDArray[Any], NDArray[Any], EpisodeArrays]:
    """X and y [count, 30] of training tasks, and the tasks."""
    [arrays] = source.episodes("train", SHAPE, np.arange(count), 1)
    x = np.concatenate([arrays.support_x, arrays.query_x], axis=1)[..., 0].astype(np.float64)
    y = np.concatenate([arrays.support_y, arrays.query_y], axis=1)[..., 0].astype(np.float64)
    return x, y, arrays


def error_of_fit(columns: list[NDArray[Any]], y: NDArray[Any]) -> NDArray[Any]:
    """The greatest distance of a task's points from the best sum of the columns."""
    basis = np.stack([*columns, np.ones_like(y)], -1)
    fits = [b @ np.linalg.lstsq(b, of_task, rcond=None)[0] for b, of_task in zip(basis, y, strict=True)]
    error: NDArray[Any] = np.abs(np.stack(fits) - y).max(1)
    return error


def test_tasks_of_a_kind_are_functions_of_that_kind() -> None:
    spans: dict[str, Callable[[NDArray[Any]], list[NDArray[Any]]]] = {
        "sinusoid": lambda x: [np.sin(x), np.cos(x)],
        "linear": lambda x: [x],
        "quadratic": lambda x: [x, x**2],
    }
    for kind, columns in spans.items():
        x, y, _ = points(made(kind))
        assert error_of_fit(columns(x), y).max() < 1e-5
        for other in spans.keys() - {kind}:  # and of no other, but for lines that are flat parabolas
            if (kind, other) != ("linear", "quadratic"):
                assert np.median(error_of_fit(spans[other](x), y)) > 0.1


def test_bent_kinds_keep_to_their_ranges() -> None:
    x, y, _ = points(made("tanh"), 2000)
    assert 5.5 < np.abs(y).max() <= 6.0
    x, y, _ = points(made("absolute"), 2000)
    slopes = np.diff(np.take_along_axis(y, x.argsort(1), 1), axis=1) / np.diff(np.sort(x, 1), axis=1)
    assert 2.9 < np.quantile(np.abs(slopes), 0.99) < 3.001
    assert ((slopes > 0.1).any(1) & (slopes < -0.1).any(1)).mean() > 0.8  # up and down again


def test_kinds_are_alike_likely_and_a_task_depends_on_its_number_alone() -> None:
    source = made("linear", "sinusoid", "quadratic")
    x, y, arrays = points(source, 900)
    lines = error_of_fit([x], y) < 1e-4
    assert 0.28 < lines.mean() < 0.39
    [some] = source.episodes("train", SHAPE, np.array([29, 4]), 1)
    np.testing.assert_array_equal(some.query_y[0], arrays.query_y[29])
    np.testing.assert_array_equal(some.support_x[1], arrays.support_x[4])
    [held_out] = source.episodes("val", SHAPE, np.arange(900), 1)
    assert not np.isin(held_out.support_x, arrays.support_x).mean() > 0.01


def test_noise_is_normal_and_leaves_the_function_as_it_is() -> None:
    _, clean, _ = points(made("linear"), 1000)
    _, noisy, _ = points(made("linear", noise=0.5), 1000)
    noise = (noisy - clean) / 0.5
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert abs((np.abs(noise) < 1).mean() - 0.6827) < 0.01
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.1


def test_options_make_another_fingerprint() -> None:
    prints = [made("linear"), made("linear", "tanh"), made("tanh", "linear"), made("linear", noise=0.1)]
    assert len({source.fingerprint for source in prints}) == 4
    assert made("linear").fingerprint == made("linear").fingerprint


@pytest.mark.parametrize("kinds, said", [(["cubic"], "no kind cubic"), ([], "one kind"), (["tanh", "tanh"], "once")])
def test_kinds_that_are_not_there_are_refused(kinds: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        made(*kinds)
    assert said != "no kind cubic" or all(kind in str(refused.value) for kind in KINDS)
