"""The outer optimiser, and its learning rate as a pure function of the step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def make_optimizer(
    options: Mapping[str, Any], parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]
) -> torch.optim.Optimizer:
    """The optimiser of `trainer.optimizer`."""
    rate, decay, momentum = options["lr"], options["weight_decay"], options["momentum"]
    if options["name"] == "adam":
        return _uncompiled(torch.optim.Adam)(parameters, lr=rate, weight_decay=decay)
    if options["name"] == "adamw":
        return _uncompiled(torch.optim.AdamW)(parameters, lr=rate, weight_decay=decay)
    if options["name"] == "rmsprop":
        return _uncompiled(torch.optim.RMSprop)(parameters, lr=rate, weight_decay=decay, momentum=momentum)
    nesterov = options["nesterov"] and momentum > 0
    sgd = _uncompiled(torch.optim.SGD)
    return sgd(parameters, lr=rate, weight_decay=decay, momentum=momentum, nesterov=nesterov)


def _uncompiled(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The same optimiser, made and used without importing torch's compiler, which takes as long as torch itself.

    torch keeps these methods from being compiled by wrappers that import the compiler when they are called. Nothing is
    compiled here, and what they wrap does the same; `step` is wrapped to switch gradients off as well.
    """
    wrapped = (kind.add_param_group, kind.zero_grad, kind.state_dict, kind.load_state_dict)
    methods = {method.__name__: inspect.unwrap(method) for method in wrapped}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(inspect.unwrap(kind.step))})


def rate_factor(schedule: Mapping[str, Any], step: int, steps: int) -> float:
    """The share of the first learning rate that update `step` of `steps` takes."""
    warmup = schedule["warmup"]
    warm = min(1.0, (step + 1) / warmup) if warmup else 1.0
    done = min(1.0, max(0, step - warmup) / max(1, steps - warmup))
    name, final, factor = schedule["name"], schedule["final"], schedule["factor"]
    if name == "cosine":
        return float(warm * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2))
    if name == "linear":
        return float(warm * (1 - (1 - final) * done))
    if name == "step":
        return float(warm * factor ** (step // schedule["every"]))
    if name == "milestones":
        return float(warm * factor ** sum(step >= at for at in schedule["at"]))
    return warm


def average_decay(options: Mapping[str, Any], step: int) -> float | None:
    """The decay of the average of weights at a step: `ema`, or from step `swa` on that of an even mean.

    Izmailov, Podoprikhin, Garipov, Vetrov & Wilson (2018), Averaging Weights Leads to Wider Optima and Better
    Generalization, UAI, algorithm 1, with a cycle of one update; None where no average is kept.
    """
    start = options["swa"]
    if start is None:
        ema: float | None = options["ema"]
        return ema
    return None if step < start else 1 - 1 / (step - start + 1)


def set_rate(optimizer: torch.optim.Optimizer, rate: float, factor: Callable[[str], float] = lambda part: 1.0) -> None:
    """Gives every parameter group the learning rate, times the factor of its `part` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * factor(group["part"]) if "part" in group else rate


def rates(config: Mapping[str, Any], outer: float) -> str:
    """The learning rates of a run for a person, the outer one and the algorithm's own: one of them is to be lowered."""
    own = {key: value for key, value in config["algo"].items() if key.endswith("_lr")}
    return ", ".join(f"{key}={value}" for key, value in {"optimizer.lr": outer, **own}.items() if value is not None)


def clip(gradients: list[Tensor], norm: float | None, value: float | None) -> Tensor:
    """Clips in place, by value and then by the norm over all; returns the norm [] before clipping."""
    before = _norm(gradients)
    if value is not None:
        for g in gradients:
            g.clamp_(-value, value)
    if norm is not None:
        scale = (norm / (_norm(gradients) + 1e-6)).clamp(max=1.0)
        for g in gradients:
            g.mul_(scale)
    return before


def _norm(gradients: list[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    return norm
