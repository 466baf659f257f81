"""A memory of examples that earlier runs were trained on, drawn evenly from all that they have seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metamtl.data.task import Examples
from metamtl.errors import UsageError
from metamtl.transfer.base import Origin
from metamtl.transfer.knowledge import Knowledge


class Memory(nn.Module):
    """Examples as buffers that no checkpoint holds."""

    def __init__(self, x: Tensor, y: Tensor, ways: int | None) -> None:
        super().__init__()
        self.register_buffer("x", x, persistent=False)
        self.register_buffer("y", y, persistent=False)
        self.ways = ways

    @property
    def examples(self) -> Examples:
        """All of them."""
        return Examples(self.get_buffer("x"), self.get_buffer("y"), self.ways)


def remembered(origins: Sequence[Origin], capacity: int) -> Knowledge:
    """The source's weights and `capacity` examples: of its own, and of those that it remembered itself.

    Each of `seen` examples so far has the same chance to be there, as with a reservoir (Vitter 1985).
    """
    (origin,) = origins
    if "head.weight" not in origin.parameters:
        raise UsageError("transfer.source: a memory of labels needs a source with a head: train it with algo=joint.")
    before = origin.before.replay if origin.before is not None else {}
    drawn = origin.trained().draw(10**9)
    assert isinstance(drawn.x, Tensor)
    old = int(before["seen"]) if before else 0
    kept = min(len(before["y"]), round(capacity * old / (old + len(drawn.x)))) if before else 0
    own = slice(0, capacity - kept)
    replay = {"x": drawn.x[own], "y": drawn.labels[own], "seen": torch.tensor(old + len(drawn.x))}
    if kept:
        # the next run of a chain takes the first of these, which must not be the oldest
        order = torch.randperm(kept + len(replay["y"]), generator=torch.Generator().manual_seed(old))
        replay |= {key: torch.cat([before[key][:kept], replay[key]])[order] for key in ("x", "y")}
    return Knowledge(parameters=origin.parameters, replay=replay)
