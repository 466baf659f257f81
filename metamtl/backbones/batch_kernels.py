"""Batch normalisation of tasks' batches by the native kernels, with sums that do not lose digits.

For maps whose channels lie last, torch's kernels add one position after another in single precision: over the 529,200
positions of 75 pictures of 84 x 84 the result is off by 2e-3. The same kernels sum over fewer rows where positions are
taken for channels, and what they give for each position is then put together (Chan, Golub & LeVeque 1983, Algorithms
for computing the sample variance, The American Statistician 37): off by 3e-7 at most. What is small is done for all
tasks at once, as each operator takes Python's lock, for which the engine's workers wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch._C import _functorch as functorch

ROWS = 128  # sums over so many are off by 3e-7; with 512 rectifiers of meta-gradients flip more often (both measured)
Found = tuple[Tensor, Tensor, Tensor]


def normalise(x: Tensor, weight: Tensor, bias: Tensor, *, epsilon: float) -> Found:
    """Y like x [T, N, C, ...], mean [T, C] and 1 / sqrt(var + epsilon) [T, C], by the statistics of a task's batch."""
    apart = _apart(x)
    if apart == 1:
        return _each(partial(_normalise, epsilon=epsilon), x, weight, bias)
    found = [torch.batch_norm_update_stats(rows, None, None, 0.0) for rows in _rows(x, apart)]
    means, vars = _parts(found, apart)
    mean = means.mean(1)
    var = (vars + (means - mean.unsqueeze(1)).square()).mean(1)
    return _by_statistics(x, weight, bias, mean, var, epsilon), mean, torch.rsqrt(var + epsilon)


def normalise_gradient(g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, *, epsilon: float) -> Found:
    """The gradient of x [T, N, C, ...] from that of y; the sums [T, C] of g (x - mean) r and of g."""
    apart = _apart(x) if g[0].stride() == x[0].stride() else 1
    if apart == 1:
        return _each(partial(_backward, epsilon=epsilon, wanted=[True, True, True]), g, x, weight, mean, r)
    columns = mean.repeat(1, apart).unbind(), r.repeat(1, apart).unbind()
    found = [
        _backward(*rows, epsilon=epsilon, wanted=[False, True, True])[1:]
        for rows in zip(_rows(g, apart), _rows(x, apart), [None] * len(x), *columns, strict=True)
    ]
    gz_sum, g_sum = (sums.sum(1) for sums in _parts(found, apart))
    count = x[0].numel() // x.shape[2]
    scale = weight * r
    slant = -scale * r * gz_sum / count
    constant = -scale * g_sum / count - slant * mean
    # x slant + constant, by the kernel that normalises by given statistics
    zeros, ones = torch.zeros_like(mean), torch.ones_like(mean)
    on_x = _by_statistics(x, slant, constant, zeros, ones, 0.0)
    return on_x.addcmul_(g, scale[:, None, :, None, None]), gz_sum, g_sum


def _apart(x: Tensor) -> int:
    """How many positions of a picture are summed apart; 1 where the kernels lose no digits as it is.

    Compilers and torch.func's transforms, which know no sums of moments, are given the kernels as they are.
    """
    if torch.compiler.is_compiling() or functorch.is_functorch_wrapped_tensor(x):
        return 1
    if x.dim() != 5 or x.device.type != "cpu" or not x[0].is_contiguous(memory_format=torch.channels_last):
        return 1
    _, count, _, height, width = x.shape
    if count * height * width <= ROWS or x[0].is_contiguous():
        return 1
    return width if count * height <= ROWS else height * width


def _rows(x: Tensor, apart: int) -> tuple[Tensor, ...]:
    """Maps [T, N, C, H, W] with their channels last as [rows, positions * C] of each task, without a copy."""
    return x.permute(0, 1, 3, 4, 2).reshape(len(x), -1, apart * x.shape[2]).unbind()


def _parts(found: Sequence[Sequence[Tensor]], apart: int) -> tuple[Tensor, ...]:
    """What was found for the columns of each task, as [T, positions, C]."""
    return tuple(torch.stack(values).view(len(found), apart, -1) for values in zip(*found, strict=True))


def _by_statistics(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, epsilon: float) -> Tensor:
    """(x - mean) / sqrt(var + epsilon) * weight + bias for maps [T, N, C, H, W] whose channels lie last."""
    y = torch.empty_like(x.permute(0, 1, 3, 4, 2), memory_format=torch.contiguous_format).permute(0, 1, 4, 2, 3)
    unused = mean.new_empty(0), mean.new_empty(0)
    native = torch.ops.aten.native_batch_norm.out  # into y, of which there is no copy then
    for *given, out in zip(*(of_tasks.unbind() for of_tasks in (x, weight, bias, mean, var, y)), strict=True):
        native(*given, False, 0.0, epsilon, out=out, save_mean=unused[0], save_invstd=unused[1])
    return y.detach()  # no view, which nobody may change in place


def _each(native: Callable[..., Found], *tensors: Tensor) -> Found:
    """A map and two rows of values of every task, joined in the layout that the first map has."""
    maps = tensors[0]
    if len(maps) == 1:
        y, a, b = (found[None] for found in native(*(tensor[0] for tensor in tensors)))
    elif maps.device.type != "cpu":
        y, a, b = _as_channels(native, *tensors)
    else:
        results = [native(*of_task) for of_task in zip(*(tensor.unbind() for tensor in tensors), strict=True)]
        every, first, second = zip(*results, strict=True)
        y, a, b = torch.cat(every).view(maps.shape), torch.stack(first), torch.stack(second)
    return y.detach(), a.detach(), b.detach()


def _as_channels(native: Callable[..., Found], *tensors: Tensor) -> Found:
    """The same in one call, tasks as channels of one batch: grouped convolutions lay their maps out so."""
    merged = (t.flatten(0, 1) if t.dim() == 2 else t.movedim(0, 1).flatten(1, 2) for t in tensors)
    y, a, b = native(*merged)
    tasks = len(tensors[0])
    apart = y.view(len(y), tasks, -1, *y.shape[2:]).movedim(1, 0)
    return apart, a.view(tasks, -1), b.view(tasks, -1)


def _normalise(x: Tensor, weight: Tensor, bias: Tensor, *, epsilon: float) -> Found:
    """The kernel's own y, mean and 1 / sqrt(var + epsilon) of one batch."""
    return torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, epsilon)


def _backward(
    g: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, r: Tensor, *, epsilon: float, wanted: list[bool]
) -> Found:
    """The kernel's own gradients of x, weight and bias of one batch, those that are wanted."""
    # torch 2.13's kernel reads the weight as if its numbers lay side by side
    weight = None if weight is None else weight.contiguous()
    found: Found = torch.ops.aten.native_batch_norm_backward(g, x, weight, None, None, mean, r, True, epsilon, wanted)
    return found
