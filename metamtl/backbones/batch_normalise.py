"""Batch normalisation of many tasks' maps and what follows it, with closed forms of two derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metamtl.backbones import fused
from metamtl.backbones.batch_kernels import Found, normalise, normalise_gradient
from metamtl.backbones.tail import NO_TAIL, Places, Tail
from metamtl.backbones.vectorised import OfTasks, channels_last


class BatchNormalise(OfTasks):
    """`Normalise` and a tail by native kernels, for statistics that take no part in what is differentiated.

    Maps x [T, N, C, ...] and weights [T, C] of T tasks. Its first and second derivative are closed forms: autograd's
    own second derivative of batch normalisation takes some twenty passes over x.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, tail: Tail) -> Found:
        """Y [T, N, C, ...], less places where it is pooled; mean [T, C] and r [T, C]."""
        if fused.serves(x):
            return fused.normalise(x, weight, bias, epsilon=epsilon, tail=tail)
        y, mean, r = normalise(x, weight, bias, epsilon=epsilon)
        if tail != NO_TAIL:
            pooled = tail.outputs(y.flatten(0, 1))
            y = pooled.view(*y.shape[:2], *pooled.shape[1:]).detach()
        return y, mean, r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Keeps what the gradient needs."""
        *tensors, ctx.epsilon, ctx.tail = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias from that of y."""
        x, *rows = ctx.saved_tensors
        g = _laid_out_as(x, slopes[0])
        return *BatchNormaliseGradient.of(g, x, *rows, ctx.epsilon, ctx.tail), None, None


class BatchNormaliseGradient(OfTasks):
    """The gradients of x (h weight r less its projections on 1 and z = (x - mean) r), weight and bias.

    Here h is the gradient of z weight + bias: that of y, spread to where the tail takes its outputs from.
    """

    @staticmethod
    def forward(
        g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, r: Tensor, epsilon: float, tail: Tail
    ) -> Found:
        """The gradient of x; sums of h z [T, C] and of h [T, C]."""
        if fused.serves(x, g):
            return fused.normalise_gradient(g, x, weight, bias, mean, r, tail=tail)
        if tail != NO_TAIL:
            g = _laid_out_as(x, _places(x, weight, bias, mean, r, tail).spread(g))
        return normalise_gradient(g, x, weight, mean, r, epsilon=epsilon)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Keeps what the second derivative needs."""
        *tensors, ctx.epsilon, ctx.tail = inputs
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of g, x and weight from those of the three outputs: v, v_weight and v_bias."""
        h, x, weight, bias, mean, r, hz_sum, h_sum = ctx.saved_tensors
        v, v_weight, v_bias = _laid_out_as(x, slopes[0]), *slopes[1:]
        if not torch.is_grad_enabled() and fused.serves(x, h, v):
            own = fused.normalise_second((v, v_weight, v_bias), *ctx.saved_tensors, tail=ctx.tail)
            return *own, *[None] * 5
        places = None if ctx.tail == NO_TAIL else _places(x, weight, bias, mean, r, ctx.tail)
        if places:
            h = places.spread(h)
        gradient = normalise_gradient
        if torch.is_grad_enabled():  # a higher derivative may follow, in which the statistics take part
            gradient = _written_gradient
            var, mean = torch.var_mean(x, _of_a_task(x), correction=0)
            r = torch.rsqrt(var + ctx.epsilon)
            _, hz_sum, h_sum = gradient(h, x, weight, mean, r, epsilon=ctx.epsilon)
        count = x[0].numel() // x.shape[2]
        on_h, vz_sum, v_sum = gradient(v, x, weight, mean, r, epsilon=ctx.epsilon)
        on_h = on_h + _task_affine(x, v_weight * r, v_bias - v_weight * r * mean)
        # L = weight r along + v_weight hz_sum: its slope by z, then through z and through r to x
        along = (v * h).sum(_of_a_task(x)) - (v_sum * h_sum + vz_sum * hz_sum) / count
        share = weight * r / count
        by_v, by_h = -share * hz_sum, v_weight - share * vz_sum
        by_z_mean = (by_v * v_sum + by_h * h_sum) / count
        by_zz_mean = (by_v * vz_sum + by_h * hz_sum) / count
        on_z = -r * (by_zz_mean + share * along)
        on_x = _task_affine(x, on_z * r, -r * by_z_mean - on_z * r * mean)
        on_x = torch.addcmul(on_x, v, _per_task(r * by_v, x))
        on_x = torch.addcmul(on_x, h, _per_task(r * by_h, x))
        return (places.picked(on_h) if places else on_h), on_x, r * along, *[None] * 5


def _places(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, r: Tensor, tail: Tail) -> Places:
    with torch.no_grad():
        scale = weight * r
        return Places(_task_affine(x, scale, bias - mean * scale), tail)


def _written_gradient(g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, *, epsilon: float) -> Found:
    """What `normalise_gradient` gives, of operators that can be differentiated any number of times.

    The statistics may take part in what is differentiated.
    """
    axes, count = _of_a_task(x), x[0].numel() // x.shape[2]
    g_sum = g.sum(axes)
    gz_sum = ((g * x).sum(axes) - mean * g_sum) * r
    scale, slant = weight * r, -weight * r * r * gz_sum / count
    on_x = _task_affine(g, scale, -scale * g_sum / count) + _task_affine(x, slant, -slant * mean)
    return on_x, gz_sum, g_sum


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
