"""The even mean of a run's weights (SWA)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from metamtl.trainer.checkpoint import update_ema
from metamtl.trainer.optim import average_decay
from metamtl.trainer.run import resume_run
from tests.transfer.made import DIGITS, stopped, trained


def test_from_its_step_on_it_is_the_mean_of_all_weights() -> None:
    module, options, kept = nn.Linear(1, 1, bias=False), {"swa": 2, "ema": 0.9}, None
    for step in range(6):
        with torch.no_grad():
            module.weight.fill_(step**2)
        kept = update_ema(kept, module, average_decay(options, step))
        assert (kept is None) == (step < 2)
    assert kept is not None
    torch.testing.assert_close(kept["weight"], torch.full((1, 1), (4 + 9 + 16 + 25) / 4))


def test_a_resumed_run_goes_on_with_its_mean(tmp_path: Path) -> None:
    options = [*DIGITS, "trainer.swa=1", "trainer.steps=4", "trainer.checkpoint_every=1", "trainer.validate_every=1"]
    whole, broken = trained(tmp_path / "whole", *options), stopped(tmp_path / "broken", 3, *options)
    resume_run(broken)
    there, here = (torch.load(run / "checkpoints" / "last.pt", weights_only=True)["ema"] for run in (whole, broken))
    assert there.keys() == here.keys() and all(torch.equal(tensor, here[name]) for name, tensor in there.items())
    last = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)["learner"]
    assert any(not torch.equal(tensor, last[name]) for name, tensor in there.items())
