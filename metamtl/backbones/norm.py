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

from metamtl.backbones import fused
from metamtl.backbones.batch_kernels import normalise, normalise_gradient
from metamtl.backbones.vectorised import OfTasks, channels_last

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


class BatchNormalise(OfTasks):
    """`Normalise` by the native kernels, for statistics that take no part in what is differentiated.

    Maps x [T, N, C, ...] and weights [T, C] of T tasks. Its first and second derivative are closed forms: autograd's
    own second derivative of batch normalisation takes some twenty passes over x.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
        """Y, mean [T, C] and r [T, C]."""
        return normalise(x, weight, bias, epsilon=epsilon)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Keeps what the gradient needs."""
        x, weight, _, ctx.epsilon = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(x, weight, *output[1:])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """The gradients of x, weight and bias from that of y."""
        x, weight, mean, r = ctx.saved_tensors
        g = _laid_out_as(x, slopes[0])
        return *BatchNormaliseGradient.of(g, x, weight, mean, r, ctx.epsilon), None


class BatchNormaliseGradient(OfTasks):
    """The gradients of x (g weight r less its projections on 1 and z = (x - mean) r), weight and bias."""

    @staticmethod
    def forward(
        g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradient of x; sums of g z [T, C] and of g [T, C]."""
        return normalise_gradient(g, x, weight, mean, r, epsilon=epsilon)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Keeps what the second derivative needs."""
        *tensors, ctx.epsilon = inputs
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of g, x and weight from those of the three outputs: v, v_weight and v_bias."""
        g, x, weight, mean, r, gz_sum, g_sum = ctx.saved_tensors
        v, v_weight, v_bias = _laid_out_as(x, slopes[0]), *slopes[1:]
        if not torch.is_grad_enabled() and fused.serves(x, g, v):
            own = fused.normalise_second((v, v_weight, v_bias), *ctx.saved_tensors)
            return *own, None, None, None
        gradient = normalise_gradient
        if torch.is_grad_enabled():  # a higher derivative may follow, in which the statistics take part
            gradient = _written_gradient
            var, mean = torch.var_mean(x, _of_a_task(x), correction=0)
            r = torch.rsqrt(var + ctx.epsilon)
            _, gz_sum, g_sum = gradient(g, x, weight, mean, r, epsilon=ctx.epsilon)
        count = x[0].numel() // x.shape[2]
        on_g, vz_sum, v_sum = gradient(v, x, weight, mean, r, epsilon=ctx.epsilon)
        on_g = on_g + _task_affine(x, v_weight * r, v_bias - v_weight * r * mean)
        # L = weight r along + v_weight gz_sum: its slope by z, then through z and through r to x
        along = (v * g).sum(_of_a_task(x)) - (v_sum * g_sum + vz_sum * gz_sum) / count
        share = weight * r / count
        by_v, by_g = -share * gz_sum, v_weight - share * vz_sum
        by_z_mean = (by_v * v_sum + by_g * g_sum) / count
        by_zz_mean = (by_v * vz_sum + by_g * gz_sum) / count
        on_z = -r * (by_zz_mean + share * along)
        on_x = _task_affine(x, on_z * r, -r * by_z_mean - on_z * r * mean)
        on_x = torch.addcmul(on_x, v, _per_task(r * by_v, x))
        on_x = torch.addcmul(on_x, g, _per_task(r * by_g, x))
        return on_g, on_x, r * along, None, None, None


def _written_gradient(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, *, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same, of operators that can be differentiated any number of times, and by the statistics too."""
    axes, count = _of_a_task(x), x[0].numel() // x.shape[2]
    g_sum = g.sum(axes)
    gz_sum = ((g * x).sum(axes) - mean * g_sum) * r
    scale, slant = weight * r, -weight * r * r * gz_sum / count
    on_x = _task_affine(g, scale, -scale * g_sum / count) + _task_affine(x, slant, -slant * mean)
    return on_x, gz_sum, g_sum


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

    def forward(self, x: Tensor) -> Tensor:
        """X normalised, scaled and shifted; the same shape."""
        if self.given is not None:
            mean, var = self.used = self.given
            scale = self.weight * torch.rsqrt(var + self.epsilon)
            return affine(x, scale, self.bias - mean * scale)
        y: Tensor
        if x.dtype != self.weight.dtype:  # autocast: the native operator alone mixes precisions
            y, mean, r = torch.native_batch_norm(x, self.weight, self.bias, None, None, True, 0.0, self.epsilon)
        else:
            y, mean, r = self._batch(x)
        self.used = (mean, r**-2 - self.epsilon)
        return y

    def _batch(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Y, mean [C] and 1 / sqrt(var + epsilon) [C] by the batch's statistics."""
        if self.traced:
            return Normalise.apply(x, self.weight, self.bias, self.epsilon)  # type: ignore[no-untyped-call,no-any-return]
        y, mean, r = BatchNormalise.of(x[None], self.weight[None], self.bias[None], self.epsilon)
        return y.squeeze(0), mean.squeeze(0), r.squeeze(0)  # whose backward is a view, unlike that of an index


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


def _laid_out_as(x: Tensor, g: Tensor) -> Tensor:
    """G with the strides of x: the native kernels are slow for maps whose layouts differ."""
    if g.stride() == x.stride() or x.dim() != 5 or x.device.type != "cpu":
        return g
    return channels_last(g) if x.stride(2) == 1 else g.contiguous()


def _task_affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """X [T, N, C, ...] times a scale [T, C] plus a shift [T, C]."""
    return torch.addcmul(_per_task(shift, x), x, _per_task(scale, x))


def _per_task(values: Tensor, x: Tensor) -> Tensor:
    return values.view(len(x), 1, -1, *(1,) * (x.dim() - 3))


def _of_a_task(x: Tensor) -> list[int]:
    """All axes of maps [T, N, C, ...] but tasks and channels."""
    return [1, *range(3, x.dim())]


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]
