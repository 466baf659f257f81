"""The suites on small data: what they report, and that contenders do the same work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from metamtl.bench import data, evaluation, memory, startup
from metamtl.bench.shapes import SHAPES, RandomImages, shapes_of
from metamtl.build import build_parts
from metamtl.config.compose import compose
from metamtl.data.classes import ClassSource
from metamtl.data.source import TaskShape
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.evaluation.features import FeatureTable
from tests.bench.problems import WAVES
from tests.data.made import CLASSES, made

SMALL = ("backbone=conv4", "backbone.width=4", "backbone.blocks=2")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClassSource:
    return made(tmp_path_factory.mktemp("cache"), rotations=["train"], fewer=dict.fromkeys(CLASSES, 20))


def test_contenders_of_data_make_the_same_batches(source: ClassSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "open_source", lambda config: source)
    monkeypatch.setattr(data, "STEPS", 1)
    rows = data.run(SMALL, peers=True, repeat=1, say=lambda line: None)
    assert {"metamtl", "plain indexing"} <= {row["who"] for row in rows}
    assert rows[-1]["share"] is not None and 0 < rows[-1]["share"] < 1
    parts = data._parts(SMALL)
    for name, step in data._contenders(parts, peers=True).items():
        if step is not None:
            support, query = _sets(name, step(0))
            assert query.dtype == torch.float32 and query.min() >= 0 and query.max() <= 1
            assert support.numel() + query.numel() == 16 * 5 * 16 * 16, name  # tasks, ways, examples, pixels


def _sets(name: str, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if name == "metamtl":
        return batch[0].support.x, batch[0].query.x
    if name == "torchmeta":
        return batch["train"][0], batch["test"][0]
    return (batch[0], batch[2]) if name == "plain indexing" else (batch[0][:, :0], batch[0])


def test_the_plain_test_meets_the_same_episodes(source: ClassSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "open_source", lambda config: source)
    monkeypatch.setattr(evaluation, "EPISODES", 20)
    rows = evaluation.run([*SMALL, "task.queries=4"], peers=True, repeat=1, say=lambda line: None)
    assert [(row["who"], row["episodes"]) for row in rows] == [("metamtl", 20), ("plain loop", 20)]
    config = compose(["algo=protonet", "backbone.norm=running", "trainer.device=cpu", *SMALL, "task.queries=4"])
    parts = build_parts(config, source)
    with torch.no_grad(), parts.testing():
        table = FeatureTable(parts, "test", World(0, 1))
        cached = table.figures("test", parts.test_shape, np.arange(20), 5)["accuracy"]
        plain = evaluation._one_by_one(table, parts.test_shape, np.arange(20), 5)
    assert torch.equal(cached, plain) and 0 < plain.mean() < 1


@pytest.mark.slow
def test_memory_is_that_of_the_step() -> None:
    wide = WAVES.overrides[:-2]  # the largest weight has 1500 x 1500 floats: 9 MB, as has its gradient
    shape = shapes_of([], [*wide, "backbone.hidden=[1500,1500]", "trainer.meta_batch=1"])[0]
    found = memory.peak_mb(shape, "second", "plain loop", 1)
    assert 18 < found < 500
    assert (
        memory.peak_mb(shape, "second", "plain loop", 10) > found + 9 * 9 * 0.99
    )  # nine copies more, less what the allocator had over


@pytest.mark.slow
def test_startup_tells_the_parts_of_a_first_step() -> None:
    rows = startup.run(["algo=maml", "data=sinusoid"], peers=False, repeat=1, say=lambda line: None)
    assert [row["part"] for row in rows] == ["whole"] * 3 + ["before torch", "importing torch", "after torch"]
    assert all(row["seconds"] > 0 for row in rows)


def test_shapes() -> None:
    assert [shape.name for shape in shapes_of([], [])] == list(SHAPES)
    assert [shape.name for shape in shapes_of(["S2", "S1"], ["task.ways=3"])] == ["S2", "S1", "own"]
    assert shapes_of([], ["task.ways=3"])[0].overrides == ("algo=maml", "task.ways=3")
    assert shapes_of([], ["algo=anil"])[0].overrides == ("algo=anil",)
    with pytest.raises(UsageError, match="there are S1, S2"):
        shapes_of(["S7"], [])
    config = compose(list(SHAPES["S4"].overrides))
    assert (config["task"]["ways"], config["trainer"]["meta_batch"], config["algo"]["inner_steps"]) == (20, 16, 5)


def test_random_images_are_a_function_of_their_number() -> None:
    source, shape = RandomImages((1, 4, 4)), TaskShape(3, 2, 4)
    (whole,) = source.episodes("train", shape, np.arange(4), 9)
    assert whole.query_x.shape == (4, 12, 1, 4, 4) and whole.query_y[0].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    (other,) = source.episodes("train", shape, np.arange(4), 9)
    assert np.array_equal(whole.query_x, other.query_x) and not np.array_equal(whole.query_x[0], whole.query_x[1])
