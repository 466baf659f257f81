"""Weights of a checkpoint that are not those of the learner."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from metamtl.errors import MetamtlError
from metamtl.runs.folder import RunFolder
from metamtl.trainer.checkpoint import load_best, save_best


def test_weights_of_another_learner_are_refused_in_a_sentence(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    save_best(run, nn.Linear(2, 3), 1)
    load_best(run, nn.Linear(2, 3))
    with pytest.raises(MetamtlError, match="another version of metamtl"):
        load_best(run, nn.Linear(3, 3))
