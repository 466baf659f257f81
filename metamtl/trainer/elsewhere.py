"""What the families of a run say at other shared weights than those it has: for weightings and for relatedness."""

from __future__ import annotations

import torch
from torch import Tensor

from metamtl.engine.world import World
from metamtl.families import Families
from metamtl.trainer.streams import FamiliesStream


class Elsewhere:
    """Gradients and losses on the training stream, summed over processes; it leaves the run as it was."""

    def __init__(self, families: Families, stream: FamiliesStream, world: World) -> None:
        self.families, self.stream, self.world = families, stream, world

    def __call__(self, change: Tensor, step: int, only: int | None = None) -> tuple[Tensor, Tensor]:
        """Gradients [F, P] and losses [F] of `step` where the shared weights are moved by `change` [P]."""
        every = list(self.families.each)
        names = every if only is None else [every[only]]
        with self.families.moved(change), self.families.first.autocast():
            update = self.stream.update_of(names, step)
        rows = self.families.rows(update.gradient, names)
        sums = torch.stack([update.figures[f"{name}/loss"].sum() for name in names])
        rows, sums, tasks = self.world.sum([rows, sums.to(rows), rows.new_tensor(update.tasks)])
        return rows / tasks, sums / tasks

    def here(self, step: int) -> tuple[Tensor, Tensor]:
        """The same where the shared weights are."""
        like = next(self.families.module.parameters())
        return self(like.new_zeros(sum(weight.numel() for weight in self.families.shared_weights)), step)
