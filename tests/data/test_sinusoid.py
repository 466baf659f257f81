"""The waves of MAML's regression experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamtl import registry
from metamtl.data.sampler import eval_key, train_key
from metamtl.data.sinusoid import Sinusoid
from metamtl.data.source import DataPaths, EpisodeArrays, Split, TaskShape
from metamtl.errors import UsageError

PATHS = DataPaths(data=None, cache=Path("unused"))
SHAPE = TaskShape(5, 10, 20)


def make(**changes: Any) -> Sinusoid:
    options = {"name": "sinusoid", "amplitude": [0.1, 5.0], "phase": [0.0, np.pi], "inputs": [-5.0, 5.0]}
    source = registry.build("data", {**options, **changes}, paths=PATHS)
    assert isinstance(source, Sinusoid)
    return source


def draw(count: int, split: Split = "train", key: int = 1) -> EpisodeArrays:
    [arrays] = make().episodes(split, SHAPE, np.arange(count), key)
    return arrays


def fit(arrays: EpisodeArrays) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Amplitude, phase and greatest error of the wave through each task's points, by least squares."""
    x = np.concatenate([arrays.support_x, arrays.query_x], axis=1)[..., 0].astype(np.float64)
    y = np.concatenate([arrays.support_y, arrays.query_y], axis=1)[..., 0].astype(np.float64)
    basis = np.stack([np.sin(x), -np.cos(x)], axis=-1)  # A sin(x - p) = A cos p sin x - A sin p cos x
    weights = np.stack([np.linalg.lstsq(b, v, rcond=None)[0] for b, v in zip(basis, y, strict=True)])
    error = np.abs((basis @ weights[..., None])[..., 0] - y).max(axis=1)
    return np.hypot(weights[:, 0], weights[:, 1]), np.arctan2(weights[:, 1], weights[:, 0]), error


def test_support_and_query_lie_on_one_wave_of_the_papers_distribution() -> None:
    arrays = draw(2000)
    amplitude, phase, error = fit(arrays)
    assert error.max() < 1e-5
    for values, low, high in [(amplitude, 0.1, 5.0), (phase, 0.0, np.pi), (arrays.support_x, -5.0, 5.0)]:
        assert low - 1e-4 <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high + 1e-4
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)
    assert abs(np.corrcoef(amplitude, phase)[0, 1]) < 0.1


def test_shapes_and_types() -> None:
    arrays = draw(7)
    assert arrays.ways is None
    assert arrays.support_x.shape == arrays.support_y.shape == (7, 10, 1)
    assert arrays.query_x.shape == arrays.query_y.shape == (7, 20, 1)
    assert {a.dtype for a in (arrays.support_x, arrays.support_y, arrays.query_y)} == {np.dtype(np.float32)}


def test_an_episode_is_a_function_of_its_key_and_number() -> None:
    all_of_them = draw(30)
    [some] = make().episodes("train", SHAPE, np.array([29, 4]), 1)
    np.testing.assert_array_equal(some.query_y[0], all_of_them.query_y[29])
    np.testing.assert_array_equal(some.support_x[1], all_of_them.support_x[4])


def test_splits_keys_and_sets_share_no_points() -> None:
    streams = [draw(200), draw(200, split="val"), draw(200, split="test"), draw(200, key=train_key(0))]
    points = [arrays.support_x.reshape(-1).tolist() for arrays in streams] + [streams[0].query_x.reshape(-1).tolist()]
    assert len({x for one in points for x in one}) > 0.99 * sum(len(one) for one in points)


def test_shots_may_vary_and_ways_are_not_looked_at() -> None:
    groups = make().episodes("train", TaskShape((2, 9), (1, 4), 3), np.arange(40), 1)
    assert sorted(one.support_x.shape[1] for one in groups) == [1, 2, 3, 4]
    assert sorted(int(i) for one in groups for i in one.episodes) == list(range(40))


def test_held_out_waves_are_keyed_on_all_but_ways() -> None:
    def key(shape: TaskShape, **changes: Any) -> int:
        return eval_key(0, make(**changes), "test", shape)

    assert key(TaskShape(5, 10, 20)) == key(TaskShape(2, 10, 20)) == key(TaskShape((1, 9), 10, 20))
    others = [key(TaskShape(5, 9, 20)), key(TaskShape(5, 10, 19)), key(SHAPE, amplitude=[2.0, 2.0])]
    assert len({key(SHAPE), *others}) == 4


def test_no_task_is_impossible() -> None:
    assert make().problems("test", TaskShape(1000, 1000, 1000)) == []


def test_options_make_another_distribution_and_fingerprint() -> None:
    other = make(amplitude=[2.0, 2.0])
    assert other.fingerprint != make().fingerprint == make().fingerprint
    [arrays] = other.episodes("train", SHAPE, np.arange(10), 1)
    np.testing.assert_allclose(fit(arrays)[0], 2.0, atol=1e-5)


def test_wrong_ends_are_refused_together() -> None:
    with pytest.raises(UsageError) as caught:
        make(amplitude=[5.0, 0.1], inputs=[1.0])
    assert [sentence.split()[0] for sentence in caught.value.problems] == ["data.amplitude", "data.inputs"]
