"""One meta-gradient to compute: a learner built from a config through the ordinary seam, and a batch of its tasks.

For MAML on Conv-4 or fully connected layers there is the same network in plain torch layers, which peers are given. It
is written as the papers and the peers' own examples write it (ReLU, then pooling); what metamtl gains by another order
is part of what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.bench.shapes import RandomImages, Shape
from metamtl.build import Parts, build_parts
from metamtl.config.compose import compose
from metamtl.data.opening import open_source, task_shape
from metamtl.data.sampler import train_key
from metamtl.data.task import TaskBatch
from metamtl.errors import UsageError

Weights = dict[str, Tensor]
Four = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Plain:
    """MAML in plain torch: `network` has the weights' names of metamtl's; support and query x and y [T, N, ...]."""

    network: nn.Module
    tasks: Four
    steps: int
    rate: float
    order: str

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy of integer labels, mean squared error of others."""
        return F.mse_loss(outputs, y) if y.is_floating_point() else F.cross_entropy(outputs, y)

    def task(self, number: int) -> Four:
        """Support x and y, query x and y of one task."""
        a, b, c, d = (tensor[number] for tensor in self.tasks)
        return a, b, c, d

    def __len__(self) -> int:
        return len(self.tasks[0])

    @property
    def device(self) -> torch.device:
        """Where the tasks lie."""
        return self.tasks[0].device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the arithmetic."""
        return self.tasks[0].dtype


@dataclass(frozen=True)
class Problem:
    """A shape, built: `batch` holds the tasks of one update."""

    shape: Shape
    order: str
    parts: Parts
    batch: TaskBatch
    extra: tuple[str, ...]  # overrides beside the shape's own

    @property
    def inner_steps(self) -> int | None:
        """Steps of the inner loop; None for a learner that has none."""
        steps = self.parts.config["algo"].get("inner_steps")
        return None if steps is None else int(steps)

    def meta_gradient(self) -> Weights:
        """The mean meta-gradient, by the call that training makes."""
        update = self.parts.engine.meta_gradient([self.batch])
        return {name.removeprefix("network."): g / update.tasks for name, g in update.gradient.items()}

    def plain(self, dtype: torch.dtype = torch.float32, tasks: int | None = None) -> Plain | None:
        """The same in plain torch, of the first `tasks` tasks; None for what is not MAML on plain layers."""
        config, network = self.parts.config, _plain_network(self.parts)
        if network is None:
            return None
        some = self.batch.part(slice(0, tasks)).to(self.parts.device, dtype)
        sets = (some.support.x, some.support.labels, some.query.x, some.query.labels)
        assert isinstance(sets[0], Tensor) and isinstance(sets[2], Tensor)
        algo = config["algo"]
        network, four = network.to(self.parts.device, dtype), (sets[0], sets[1], sets[2], sets[3])
        return Plain(network, four, algo["inner_steps"], algo["inner_lr"], self.order)


def make_problem(shape: Shape, order: str, *extra: str) -> Problem:
    """The shape with overrides of its own and `extra` ones; UsageError where tasks of an update differ in size."""
    config = compose(["trainer.device=cpu", *shape.overrides, *_order(shape, order), *extra])
    source = open_source(config) if shape.image is None else RandomImages(shape.image)
    for size in ("ways", "shots"):
        if not isinstance(getattr(task_shape(config["trainer"]["task"]), size), int):
            raise UsageError(f"A bench takes tasks of one size: give task.{size} a number.")
    parts = build_parts(config, source)
    parts.learner.train()
    numbers = np.arange(config["trainer"]["meta_batch"])
    (arrays,) = source.episodes("train", parts.train_shape, numbers, train_key(config["seed"]))
    return Problem(shape, order, parts, parts.preparation.batch(arrays), extra)


def _order(shape: Shape, order: str) -> list[str]:
    chosen = [override for override in shape.overrides if override.startswith("algo=")]
    return [f"algo.order={order}"] if chosen[-1] == "algo=maml" else []


def _plain_network(parts: Parts) -> nn.Module | None:
    """Plain torch layers with the learner's weights."""
    algo, options = parts.config["algo"], parts.config["backbone"]
    backbones = {"conv4": PlainConv4, "mlp": PlainMLP}
    usual = algo["name"] == "maml" and algo["adapt"] == "all" and options["norm"] in ("batch", "none")
    usual = usual and algo.get("head_init", "learned") == "learned"
    if not usual or options["name"] not in backbones or not parts.config["trainer"]["transductive"]:
        return None
    backbone = backbones[options["name"]](parts.source.input_shape, options)
    features: Any = parts.learner.network.backbone.features
    network = nn.Sequential()
    network.add_module("backbone", backbone)
    network.add_module("head", nn.Linear(features, parts.family.outputs))
    network.load_state_dict(dict(parts.learner.network.named_parameters()))
    return network


class PlainConv4(nn.Module):
    """Conv-4 as `metamtl.backbones.conv4` names its weights."""

    def __init__(self, input_shape: tuple[int, ...], options: dict[str, Any]) -> None:
        super().__init__()
        width, stride = options["width"], 2 if options["downsample"] == "stride" else 1
        self.mean = options["readout"] == "mean"
        self.blocks = nn.Sequential()
        for inputs in [input_shape[0], *[width] * (options["blocks"] - 1)]:
            batch_norm = options["norm"] == "batch"
            norm = nn.BatchNorm2d(width, track_running_stats=False) if batch_norm else nn.Identity()
            pool = [nn.MaxPool2d(2)] if stride == 1 else []
            convolution = nn.Conv2d(inputs, width, 3, stride, 1, bias=not batch_norm)
            self.blocks.append(nn.Sequential(convolution, norm, nn.ReLU(), *pool))

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, features] of images [N, C, H, W]."""
        maps: Tensor = self.blocks(x)
        return maps.mean((2, 3)) if self.mean else maps.flatten(1)


class PlainMLP(nn.Module):
    """Fully connected layers as `metamtl.backbones.mlp` names their weights."""

    def __init__(self, input_shape: tuple[int, ...], options: dict[str, Any]) -> None:
        super().__init__()
        self.layers, inputs = nn.Sequential(), int(np.prod(input_shape))
        for width in options["hidden"]:
            batch_norm = options["norm"] == "batch"
            norm = nn.BatchNorm1d(width, track_running_stats=False) if batch_norm else nn.Identity()
            self.layers.append(nn.Sequential(nn.Linear(inputs, width), norm, nn.ReLU()))
            inputs = width

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, features] of examples [N, ...]."""
        features: Tensor = self.layers(x.flatten(1))
        return features


def distance(found: Weights, wanted: Weights) -> float:
    """Of two gradients over all tensors, as a share of the wanted one's length."""
    found = {name: found[name].double().cpu() - tensor.double().cpu() for name, tensor in wanted.items()}
    apart, length = (sum(float(g.double().square().sum()) for g in of.values()) for of in (found, wanted))
    return float((apart / length) ** 0.5)
