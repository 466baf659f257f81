"""Learners over tiny networks, and batches of random tasks for them, in float64 unless said otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from metamtl.algos.base import Learner
from metamtl.data.family import Classification
from metamtl.data.task import Examples, TaskBatch
from metamtl.engine.plan import EXAMPLES_A_CHUNK, How, Memory, usual_plan
from metamtl.engine.tasks import Engine
from metamtl.registry import lookup

WAYS, SHOTS, QUERIES, TASKS = 3, 2, 2, 3
NOISE_SEED = 11
HOWS: tuple[How, ...] = ("loop", "vmap")
MEMORIES: tuple[Memory, ...] = ("full", "flat")
NORMS = ("batch", "batch_support", "running", "group", "none")  # batch_support: queries take the support set's batch

_DESCENT: Mapping[str, Any] = {"inner_lr": 0.3, "inner_steps": 2, "test_lr": None, "test_steps": None}


@dataclass(frozen=True)
class Method:
    """A learner and its options."""

    algo: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        chosen = [str(value) for key, value in self.options.items() if key in ("order", "adapt", "distance")]
        return "-".join([self.algo, *chosen])


def maml(order: str = "second", adapt: str = "all", **changes: Any) -> Method:
    return Method("maml", {**_DESCENT, "order": order, "adapt": adapt, **changes})


def anil(order: str = "second", **changes: Any) -> Method:
    return Method("anil", {**_DESCENT, "order": order, **changes})


def fomaml(adapt: str = "all", **changes: Any) -> Method:
    return Method("fomaml", {**_DESCENT, "adapt": adapt, **changes})


def protonet(distance: str = "euclidean") -> Method:
    return Method("protonet", {"distance": distance, "scale": 0.5})


def baseline(**changes: Any) -> Method:
    options = {"head_epochs": 3, "head_batch": 4, "head_lr": 0.1, "head_momentum": 0.9}
    return Method("baseline", {**options, "head_dampening": 0.9, "head_weight_decay": 1e-3, **changes})


METHODS = (
    *(maml(order, adapt) for order in ("second", "first") for adapt in ("all", "head", "body")),
    *(anil(order) for order in ("second", "first")),
    fomaml(),
    *(protonet(distance) for distance in ("euclidean", "cosine")),
)


@dataclass(frozen=True)
class Backbone:
    """A backbone, its options, and the examples that it is given here."""

    name: str
    kind: str
    shape: tuple[int, ...]
    options: Mapping[str, Any]


def _conv4(downsample: str, readout: str) -> Backbone:
    options = {"width": 8, "blocks": 2, "downsample": downsample, "readout": readout}
    return Backbone(f"conv4-{downsample}", "conv4", (2, 9, 9), options)


POOLED, STRIDED = _conv4("pool", "flatten"), _conv4("stride", "mean")
RESIDUAL = Backbone(
    "resnet12", "resnet12", (1, 8, 8), {"widths": [4, 8], "drop_rate": 0.3, "drop_block": 2}
)  # both blocks drop squares
DENSE = Backbone("mlp", "mlp", (5,), {"hidden": [8, 8]})


def learner_of(
    method: Method, backbone: Backbone, norm: str, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Learner:
    """The learner in training mode; every weight is random, those of normalisation included."""
    torch.manual_seed(seed)
    kind = norm.removesuffix("_support")
    body = lookup("backbone", backbone.kind)(input_shape=backbone.shape, norm=kind, **backbone.options)
    family = Classification("made", WAYS, classes=7)
    learner: Learner = lookup("algo", method.algo)(backbone=body, family=family, norm=kind, **method.options)
    learner.network.transductive = norm != "batch_support"
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in learner.parameters():
            if weight.dim() == 1:
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return learner.to(dtype)


def engine_of(
    learner: Learner,
    how: How,
    examples: int = EXAMPLES_A_CHUNK,
    workers: int = 1,
    memory: Memory = "full",
    noise_seed: int = NOISE_SEED,
    fused: bool = False,
) -> Engine:
    plan = usual_plan(how, workers, memory, next(learner.parameters()).device)
    plan = replace(plan, examples=examples, fused=fused)
    return Engine(learner, learner.network, plan, noise_seed)


def batch_of(
    shape: tuple[int, ...], tasks: int = TASKS, seed: int = 1, dtype: torch.dtype = torch.float64, shots: int = SHOTS
) -> TaskBatch:
    """Tasks of random inputs, their labels in random order, numbered from 5."""
    generator = torch.Generator().manual_seed(seed)

    def examples(of_each: int) -> Examples:
        count = WAYS * of_each
        x = torch.randn(tasks, count, *shape, generator=generator, dtype=torch.float64).to(dtype)
        orders = [torch.randperm(count, generator=generator) for _ in range(tasks)]
        return Examples(x, torch.stack([torch.arange(count)[order] % WAYS for order in orders]), WAYS)

    return TaskBatch(examples(shots), examples(QUERIES), torch.arange(tasks) + 5)


def meta_gradient(engine: Engine, batch: TaskBatch) -> dict[str, Tensor]:
    """The mean meta-gradient of the batch."""
    update = engine.meta_gradient([batch])
    return {name: g / update.tasks for name, g in update.gradient.items()}


def overall_error(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """Distance of two gradients over all tensors, as a share of the wanted one's length."""
    assert found.keys() == wanted.keys()
    apart = sum(float((found[name].double() - wanted[name].double()).square().sum()) for name in wanted)
    length = sum(float(tensor.double().square().sum()) for tensor in wanted.values())
    return float((apart / length) ** 0.5)


def assert_close(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float = 1e-9) -> None:
    """Equal overall and tensor by tensor; a tensor whose true gradient is zero is measured against the largest."""
    assert overall_error(found, wanted) <= tolerance
    largest = max(float(tensor.abs().max()) for tensor in wanted.values())
    assert largest > 0
    for name, tensor in wanted.items():
        allowed = tolerance * max(float(tensor.abs().max()), 1e-4 * largest)
        assert float((found[name] - tensor).abs().max()) <= allowed, name
