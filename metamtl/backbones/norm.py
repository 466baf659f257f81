"""Normalisation layers whose statistics are explicit inputs and outputs.

Which statistics a pass of batch normalisation (Ioffe & Szegedy 2015) uses is the caller's decision (`given`), and
what it used can be read back (`used`); no pass changes the layer. `BatchNormalise` is the native operator with a second
derivative of its own; where the statistics themselves take part in the computation, `Normalise` does the same
arithmetic. (The native operator under `torch.func.grad` in `vmap` has a wrong second derivative in torch 2.13.)
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from metamtl.backbones.batch_normalise import BatchNormalise
from metamtl.backbones.tail import NO_TAIL, Tail

NormKind = Literal["batch", "running", "group", "none"]
Statistics = tuple[Tensor, Tensor]  # mean [C] and biased variance [C]


class Normalise(torch.autograd.Function):
    """y = (x - mean) r weight + bias over all axes of x [N, C, ...] but C, with mean and r = 1 / sqrt(var + epsilon).

    The gradient is affine in g and x, with one coefficient a channel: two passes over x in place of the dozen that
    differentiating each operation takes. Mean and r are outputs as well, so that the gradient is differentiable.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
        """Y, mean [C] and r [C]."""
        var, mean = torch.var_mean(x, _all_but_channels(x), correction=0)
        r = torch.rsqrt(var + epsilon)
        return affine(x, weight * r, bias - mean * weight * r), mean, r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Keeps what the gradient needs."""
        ctx.save_for_backward(inputs[0], inputs[1], output[1], output[2])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """The gradients of x, weight and bias from those of y, mean and r."""
        g, g_mean, g_r = slopes
        x, weight, mean, r = ctx.saved_tensors
        axes, count = _all_but_channels(x), x.numel() // x.shape[1]
        g_bias = g.sum(axes)
        centred = (g * x).sum(axes) - mean * g_bias  # sum of g (x - mean)
        # r depends on x through the variance: dr/dx = -r^3 (x - mean) / count
        on_x = -(weight * centred + g_r) * r**3 / count
        constant = (g_mean - weight * r * g_bias) / count - on_x * mean
        return torch.addcmul(affine(x, on_x, constant), g, _per_channel(weight * r, x)), centred * r, g_bias, None


class BatchNorm(nn.Module):
    """Normalises x [N, C, ...] over all axes but C, with the batch's statistics or with `given` ones.

    `traced` says that the statistics read back take part in what is differentiated. `running_mean` and `running_var`
    [C] hold averages over training where the run asks for them.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.epsilon = epsilon
        self.given: Statistics | None = None
        self.traced = False
        self.used: Statistics | None = None

    def forward(self, x: Tensor, tail: Tail = NO_TAIL) -> Tensor:
        """X normalised, scaled and shifted; and what follows it, where the caller gives that too."""
        if self.given is not None:
            mean, var = self.used = self.given
            scale = self.weight * torch.rsqrt(var + self.epsilon)
            return tail.outputs(affine(x, scale, self.bias - mean * scale))
        y: Tensor
        if x.dtype != self.weight.dtype:  # autocast: the native operator alone mixes precisions
            y, mean, r = torch.native_batch_norm(x, self.weight, self.bias, None, None, True, 0.0, self.epsilon)
            y = tail.outputs(y)
        elif self.traced:
            y, mean, r = Normalise.apply(x, self.weight, self.bias, self.epsilon)  # type: ignore[no-untyped-call]
            y = tail.outputs(y)
        else:
            of_tasks = BatchNormalise.of(x[None], self.weight[None], self.bias[None], self.epsilon, tail)
            y, mean, r = (found.squeeze(0) for found in of_tasks)  # whose backward is a view, unlike that of an index
        self.used = (mean, r**-2 - self.epsilon)
        return y


class GroupNorm(nn.Module):
    """Normalises each example of x [N, C, ...] over groups of channels (Wu & He 2018); no statistics to choose."""

    def __init__(self, channels: int, groups: int = 8, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.groups = next(n for n in range(max(1, min(groups, channels // 4)), 0, -1) if channels % n == 0)
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """X normalised, scaled and shifted; the same shape."""
        grouped = x.reshape(x.shape[0], self.groups, -1)
        var, mean = torch.var_mean(grouped, 2, correction=0, keepdim=True)
        normal = ((grouped - mean) * torch.rsqrt(var + self.epsilon)).view(x.shape)
        return affine(normal, self.weight, self.bias)


def norm_layer(kind: NormKind, channels: int) -> nn.Module:
    """The layer of a `backbone.norm` choice; `batch` and `running` differ only in how the network calls it."""
    if kind == "group":
        return GroupNorm(channels)
    return nn.Identity() if kind == "none" else BatchNorm(channels)


def affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """X times a scale [C] plus a shift [C]."""
    return torch.addcmul(_per_channel(shift, x), x, _per_channel(scale, x))


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *(1,) * (x.dim() - 2))


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]
