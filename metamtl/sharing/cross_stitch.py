"""Cross-stitch: a backbone for each family, and learnt units that mix their activations after every block.

Misra et al. (2016), Cross-Stitch Networks for Multi-task Learning, CVPR, equation 1, for each channel: what family i
goes on with is sum_j alpha_ij h_j, at first `own` of its own and equal parts of the others. The units learn at a rate
of their own. An example is run through the columns of all families, so that a pass costs as many.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metamtl.registry import register
from metamtl.sharing.base import Around, MakeBackbone, Shape, Sharing, blocks_of, only_shape, twin


class Stitched(nn.Module):
    """The same block of all columns, whose inputs stand one after another, [columns x N, ...]; and their unit."""

    def __init__(self, columns: list[nn.Module], channels: int, own: float, pace: float) -> None:
        super().__init__()
        self.pace = pace  # of the unit alone: the columns' weights are not this module's own
        self.columns = nn.ModuleList(columns)
        count = len(columns)
        alpha = torch.full((count, count), (1 - own) / max(1, count - 1)).fill_diagonal_(own if count > 1 else 1.0)
        self.alpha = nn.Parameter(alpha.unsqueeze(-1).repeat(1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Their outputs, mixed, in the same order."""
        given = x.chunk(len(self.columns))
        h = torch.stack([column(own) for column, own in zip(self.columns, given, strict=True)])
        mixed = torch.einsum("ijc,jnc...->inc..." if h.dim() == 5 else "ijc,jn...c->in...c", self.alpha, h)
        return mixed.flatten(0, 1)


class Column(Around):
    """What one of `count` families sees of the stitched columns."""

    def __init__(self, stitched: nn.Module, number: int, count: int) -> None:
        super().__init__([stitched])
        self.number, self.count = number, count

    def forward(self, x: Tensor) -> Tensor:
        """Features of examples x [N, ...]."""
        together = self.inner[0](x.repeat(self.count, *[1] * (x.dim() - 1)))
        features: Tensor = together.chunk(self.count)[self.number]
        return features


@register("sharing", "cross_stitch")
class CrossStitch(Sharing):
    """Columns and units belong to all families, each of which goes on with its own column.

    Units learn at `pace` times the run's rate.
    """

    def __init__(self, *, own: float, pace: float = 1.0) -> None:
        self.own, self.pace = own, pace

    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """Views of one stitched backbone; what stands before its blocks is one for all columns."""
        first = only_shape(shapes, "cross_stitch")
        columns = [make(first) for _ in shapes]
        stitched = columns[0]
        channels = channels_of(stitched, shapes[first], "cross_stitch")
        every = [list(blocks_of(column, "cross_stitch")) for column in columns]
        blocks = blocks_of(stitched, "cross_stitch")
        for number, same in enumerate(zip(*every, strict=True)):
            blocks[number] = Stitched(list(same), channels[number], self.own, self.pace)
        return {name: Column(twin(stitched), number, len(shapes)) for number, name in enumerate(shapes)}


def channels_of(backbone: nn.Module, shape: Shape, pattern: str) -> list[int]:
    """How many channels each block puts out, seen in a pass over zeros."""
    found: list[int] = []
    hooks = [
        block.register_forward_hook(lambda module, x, y: found.append(y.shape[1 if y.dim() == 4 else -1]))
        for block in blocks_of(backbone, pattern)
    ]
    with torch.no_grad():
        backbone(torch.zeros(2, *shape))
    for hook in hooks:
        hook.remove()
    return found
