"""What threads find made: the nodes in which graphs over the learner's weights end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metamtl.engine.workers import accumulators


def _end(weight: Tensor) -> Any:
    node = weight.expand_as(weight).grad_fn
    assert node is not None
    found = node.next_functions[0][0]
    assert found is not None
    return found


def test_the_ends_of_graphs_live_as_long_as_they_are_held() -> None:
    """Also where no gradient is taken outside, as inner loops still take theirs."""
    learner = nn.Linear(2, 3)
    learner.bias.requires_grad_(False)
    with torch.no_grad():
        held = accumulators(learner)
    assert len(held) == 1
    _end(learner.weight).metadata["met"] = True
    assert "met" in _end(learner.weight).metadata
    held.clear()
    assert "met" not in _end(learner.weight).metadata  # another one, made anew
