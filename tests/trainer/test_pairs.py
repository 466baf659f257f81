"""A stage on pairs: trained end to end, shared between processes, and refused where there is nothing to pair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from metamtl.build import build_parts
from metamtl.data.opening import open_source
from metamtl.data.task import Minibatch
from metamtl.engine.update import Update
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.runs import metrics
from metamtl.trainer.streams import PairStream
from tests.trainer.runs import Runs, status, trained_here

SIAMESE = {"name": "siamese", "units": 8, "distortion": True}


def config(runs: Runs, kind: str = "baseline", **algo: Any) -> dict[str, Any]:
    few = ("trainer.steps=4", "trainer.validate_every=2", "trainer.log_every=2")
    return {**runs.config(kind, *few), "algo": {**SIAMESE, **algo}}


def pairs_of(runs: Runs, monkeypatch: pytest.MonkeyPatch, rank: int, size: int, distortion: bool = True) -> Minibatch:
    """The pairs of step 3 that a process is given."""
    settings = config(runs, distortion=distortion)
    parts = build_parts(settings, open_source(settings))
    seen: list[Minibatch] = []
    take = parts.engine.minibatch_gradient

    def watched(minibatch: Minibatch, step: int) -> Update:
        seen.append(minibatch)
        return take(minibatch, step)

    monkeypatch.setattr(parts.engine, "minibatch_gradient", watched)
    PairStream(parts, parts.learner.stages[0], World(rank, size)).update(3)
    (minibatch,) = seen
    return minibatch


def test_a_run_verifies_pairs_and_is_tested_on_tasks(runs: Runs, tmp_path: Path) -> None:
    run = trained_here(config(runs), tmp_path)
    assert status(run) == "completed"
    lines = metrics.read(run / "metrics.jsonl")
    losses = [line["train/loss"] for line in lines if line["split"] == "train"]
    assert len(losses) >= 2 and all(0 < loss < 10 * math.log(2) for loss in losses)


def test_processes_share_the_pairs_of_an_update(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distorted as they are for a process alone, and each has pairs of both kinds."""
    whole = pairs_of(runs, monkeypatch, 0, 1).examples
    shares = [pairs_of(runs, monkeypatch, rank, 2).examples for rank in range(2)]
    assert isinstance(whole.x, dict) and whole.ways == 2
    for rank, share in enumerate(shares):
        assert isinstance(share.x, dict)
        assert torch.equal(share.labels, whole.labels[rank::2]) and set(share.labels.tolist()) == {0, 1}
        for twin in ("first", "second"):
            assert torch.equal(share.x[twin], whole.x[twin][rank::2])


def test_pairs_are_distorted_where_they_shall_be(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (pairs_of(runs, monkeypatch, 0, 1, distortion).examples for distortion in (True, False))
    assert isinstance(one.x, dict) and isinstance(other.x, dict)
    assert torch.equal(one.labels, other.labels)
    for twin in ("first", "second"):
        changed = (one.x[twin] != other.x[twin]).flatten(1).any(1)
        assert changed.float().mean() > 0.8  # a 128th stays as it is


def test_data_without_classes_are_refused(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="algo=siamese tells classes apart; sinusoid has no classes"):
        trained_here(config(runs, "sinusoid"), tmp_path)
