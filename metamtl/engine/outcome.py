"""What a learner says of one task or minibatch: loss, figures, and a meta-gradient of its own where it has one."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Outcome(NamedTuple):
    """`figures` [] has `loss` among them.

    `gradient` maps names of the learner's weights to a meta-gradient that is not the derivative of `loss` (implicit,
    or a displacement); it is empty where the engine differentiates `loss`.
    """

    loss: Tensor
    figures: dict[str, Tensor]
    gradient: dict[str, Tensor]
