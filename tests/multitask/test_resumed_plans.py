"""A resumed run of families whose engines compute in different ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metamtl.backbones import fused
from metamtl.config.compose import compose
from tests.multitask.resumed import unbroken_and_resumed

SMALL = ["trainer.steps=6", "trainer.validate_every=3", "trainer.checkpoint_every=3", "trainer.pictures=0"]
SMALL += ["eval.episodes=4", "eval.val_episodes=4", "eval.gap_episodes=0", "trainer.schedule.name=constant"]


@pytest.mark.skipif(not fused.available(), reason="numba is not installed")
def test_each_family_goes_on_as_it_began(tmp_path: Path) -> None:
    """The second has maps for compiled kernels, the first none."""
    pictures = "{data: glyphs, set: {backbone: {width: 4, blocks: 2}, task: {ways: 3}, trainer: {meta_batch: 2}}}"
    families = ["+families.waves={data: sinusoid}", f"+families.pictures={pictures}", "sharing=trunk"]
    config = compose(["algo=maml", "data=sinusoid", *families, *SMALL])
    unbroken_and_resumed(config, tmp_path)
    whole, broken = (
        torch.load(last, weights_only=True)
        for name in ("whole", "broken")
        for last in (tmp_path / name).glob("*/checkpoints/last.pt")
    )
    assert all(torch.equal(whole["learner"][name], tensor) for name, tensor in broken["learner"].items())
    for content in (whole, broken):
        assert [content["plans"][family]["fused"] for family in ("waves", "pictures")] == [False, True]
