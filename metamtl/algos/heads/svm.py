"""A multi-class support vector machine by its dual, differentiable at the solution.

The machine is Crammer & Singer's (2001), On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines,
JMLR 2; its dual as Lee, Maji, Ravichandran & Soatto (2019), Meta-Learning with Differentiable Convex Optimization,
CVPR, equations 6 to 9, have it: over a [S, ways], with Y the labels one-hot and K = X X',

    minimise  1/2 sum_k a_k' K a_k - sum Y a    subject to    a <= C Y  and  sum_k a_nk = 0 for every example n.

It is solved by a primal-dual interior point method (Nocedal & Wright 2006, Numerical Optimization, section 16.6) in a
fixed number of steps, so that tasks can be vectorised. With s = C Y - a the slack and z its multiplier, a Newton step
towards s z = mu has one matrix K + diag(z / s) for each class, and a multiplier nu [S] that couples the classes: the
cost is that of `ways` systems of S unknowns, not of one with S x ways.
"""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 25  # twice what tasks of up to 20 ways need; a step from the solution leaves it there
CENTRING = 0.1  # how much closer to the solution each step aims
GAP = 1e-9  # s z of the solution that is differentiated, as a share of C
RIDGE = 1e-5  # of the kernel's mean diagonal: with more examples than features, `a` alone would not be determined


def crammer_singer(kernel: Tensor, targets: Tensor, cost: float) -> Tensor:
    """The dual solution a [S, ways] for a kernel [S, S] and one-hot targets [S, ways]; the weights are X' a.

    Its derivative by the kernel is that of the implicit function theorem: the solution is a fixed point of the Newton
    step, whose own Jacobian vanishes there, so one step with its matrices held constant carries the exact derivative.
    """
    exact, y = _double(kernel), _double(targets)
    exact = exact + RIDGE * exact.diagonal().mean() * torch.eye(len(y), dtype=y.dtype, device=y.device)
    with torch.no_grad():
        a, z = _start(y, cost)
        for _ in range(STEPS):
            a, z = _step(exact, y, a, z, cost)
    return (a + _newton(exact, y, a, z, cost, _least(cost))).to(kernel.dtype)


def _start(y: Tensor, cost: float) -> tuple[Tensor, Tensor]:
    """A point within all constraints, and equal multipliers."""
    ways = y.shape[1]
    return cost / 2 * (y - 1 / ways), torch.ones_like(y)


def _step(kernel: Tensor, y: Tensor, a: Tensor, z: Tensor, cost: float) -> tuple[Tensor, Tensor]:
    """Most of the way along a Newton step, as far as slack and multipliers stay positive."""
    s = cost * y - a
    mu = (CENTRING * (s * z).mean()).clamp(min=_least(cost))
    towards = _newton(kernel, y, a, z, cost, mu)
    z_towards = mu / s - z + z / s * towards
    nearest = torch.maximum((towards / s).amax(), (-z_towards / z).amax())
    share = (0.99 / nearest.clamp(min=1e-30)).clamp(max=1)
    return a + share * towards, z + share * z_towards


def _newton(kernel: Tensor, y: Tensor, a: Tensor, z: Tensor, cost: float, mu: Tensor | float) -> Tensor:
    """The change of a [S, ways] towards a point where s z = mu; constant in the kernel but for the residual.

    (K + diag(z_k / s_k)) da_k = Y_k - K a_k - mu / s_k - nu, with nu such that every example's changes sum to zero.
    """
    s = cost * y - a
    curvature = kernel.detach() + torch.diag_embed((z / s).T)  # [ways, S, S]
    inverse = torch.linalg.inv_ex(curvature).inverse
    pull = (y - kernel @ a - mu / s).T.unsqueeze(2)  # [ways, S, 1]
    whole = (inverse @ pull).sum(0) + a.sum(1, keepdim=True)
    nu = torch.linalg.inv_ex(inverse.sum(0)).inverse @ whole
    change: Tensor = inverse @ (pull - nu)
    return change.squeeze(2).T


def _least(cost: float) -> float:
    return GAP * cost


def _double(values: Tensor) -> Tensor:
    # slack and multipliers end some ten orders of magnitude apart; Apple's GPU has no double precision
    return values if values.device.type == "mps" else values.double()
