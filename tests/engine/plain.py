"""A plain reference: one task at a time, by the papers' formulas, with nothing of the engine or the layers.

Batch normalisation is written out, noise is hashed by numpy's unsigned integers, and the inner loop is
`torch.autograd.grad` with `create_graph`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.data.task import Task, TaskBatch
from tests.engine.made import NOISE_SEED, RESIDUAL, Backbone, Method

Weights = dict[str, Tensor]
Moments = list[tuple[Tensor, Tensor]]
Unsigned = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]


# ---- noise ----


def splitmix(key: int | Unsigned, value: int | Unsigned) -> Unsigned:
    """SplitMix64's finaliser over a key and a value (Steele, Lea & Flood 2014)."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        x = (np.asarray(key, np.uint64) ^ (np.asarray(value, np.uint64) * golden)) + golden
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)), np.uint64)


def drop_squares(x: Tensor, key: Unsigned, rate: float, side: int) -> Tensor:
    """DropBlock, square by square."""
    count, channels, height, width = x.shape
    side = min(side, height, width)
    rows, columns = height - side + 1, width - side + 1
    chance = rate * height * width / (side**2 * rows * columns)
    positions = np.arange(count * channels * rows * columns, dtype=np.uint64)
    numbers = (splitmix(key, positions) >> np.uint64(40)).astype(np.float64) / 2**24
    corners = (numbers < chance).reshape(count, channels, rows, columns)
    kept = np.ones(x.shape)
    for n, c, i, j in np.argwhere(corners):
        kept[n, c, i : i + side, j : j + side] = 0
    return x * torch.from_numpy(kept / kept.mean()).to(x.dtype)


# ---- networks ----


class Passes:
    """The passes of one task through a network: each knows its number, from which its noise comes."""

    def __init__(self, backbone: Backbone, norm: str, key: Unsigned | None) -> None:
        self.backbone, self.norm, self.key = backbone, norm, key
        self.number = -1
        self.given: Moments | None = None
        self.used: Moments = []
        self.drops = 0

    def __call__(self, weights: Weights, x: Tensor, given: Moments | None = None) -> Tensor:
        """Features [N, D]; `used` then holds each layer's moments."""
        self.number += 1
        self.given, self.used, self.drops = given, [], 0
        network = {"conv4": self._conv4, "resnet12": self._resnet12, "mlp": self._mlp}[self.backbone.kind]
        return network(weights, x)

    def _conv4(self, weights: Weights, x: Tensor) -> Tensor:
        strided = self.backbone.options["downsample"] == "stride"
        for block in range(2):
            x = self._convolve(weights, f"backbone.blocks.{block}.0", x, stride=2 if strided else 1)
            x = torch.relu(self._normalise(weights, f"backbone.blocks.{block}.1", x))
            x = x if strided else F.max_pool2d(x, 2)
        return x.mean((2, 3)) if self.backbone.options["readout"] == "mean" else x.flatten(1)

    def _resnet12(self, weights: Weights, x: Tensor) -> Tensor:
        for block in range(2):
            name = f"backbone.blocks.{block}"
            y = x
            for layer in (0, 3, 6):
                y = self._convolve(weights, f"{name}.main.{layer}", y)
                y = self._normalise(weights, f"{name}.main.{layer + 1}", y)
                y = F.leaky_relu(y, 0.1) if layer < 6 else y
            x = self._convolve(weights, f"{name}.shortcut.0", x, padding=0)
            x = F.max_pool2d(F.leaky_relu(y + self._normalise(weights, f"{name}.shortcut.1", x), 0.1), 2)
            x = self._drop(x)
        return x.mean((2, 3))

    def _mlp(self, weights: Weights, x: Tensor) -> Tensor:
        for layer in range(2):
            name = f"backbone.layers.{layer}"
            x = x @ weights[f"{name}.0.weight"].T + weights[f"{name}.0.bias"]
            x = torch.relu(self._normalise(weights, f"{name}.1", x))
        return x

    def _convolve(self, weights: Weights, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), stride, padding)

    def _normalise(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        if self.norm == "none":
            return x
        scale, shift = (weights[f"{name}.{part}"].view(-1, *[1] * (x.dim() - 2)) for part in ("weight", "bias"))
        if self.norm == "group":  # of four channels
            return scale * F.group_norm(x, x.shape[1] // 4) + shift
        axes = [0, *range(2, x.dim())]
        if self.given is None:
            mean = x.mean(axes)
            var = (x - mean.view_as(scale)).square().mean(axes)
        else:
            mean, var = self.given[len(self.used)]
        self.used.append((mean, var))
        return scale * (x - mean.view_as(scale)) / (var.view_as(scale) + 1e-5).sqrt() + shift

    def _drop(self, x: Tensor) -> Tensor:
        if self.key is None:
            return x
        key = splitmix(self.key, self.number * 2 + self.drops)
        self.drops += 1
        return drop_squares(x, key, self.backbone.options["drop_rate"], self.backbone.options["drop_block"])


# ---- learners ----


@dataclass(frozen=True)
class Plain:
    """A learner over a network, in training."""

    method: Method
    backbone: Backbone
    norm: str

    def meta_gradient(self, weights: Mapping[str, Tensor], batch: TaskBatch) -> Weights:
        """The gradient of the mean outer loss over the tasks; weights are named as the network has them."""
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        losses = torch.stack([self.outer_loss(leaves, batch.task(number)) for number in range(len(batch))])
        gradients = torch.autograd.grad(losses.mean(), list(leaves.values()), allow_unused=True)
        pairs = zip(leaves.items(), gradients, strict=True)
        return {name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in pairs}

    def outer_loss(self, weights: Weights, task: Task) -> Tensor:
        """The outer loss [] of one task."""
        key = splitmix(int(task.number), NOISE_SEED) if self.backbone is RESIDUAL else None
        passes = Passes(self.backbone, self.norm.removesuffix("_support"), key)
        learn = {"protonet": self._protonet, "anil": self._anil}.get(self.method.algo, self._maml)
        return learn(weights, task, passes)

    def _maml(self, weights: Weights, task: Task, passes: Passes) -> Tensor:
        (x, y), (query_x, query_y) = _pairs(task)
        adapt = self.method.options["adapt"]
        chosen = [name for name in weights if adapt == "all" or (adapt == "head") == name.startswith("head.")]
        fast = self._descend(weights, chosen, lambda fast: _cross_entropy(_head(fast, passes(fast, x)), y))
        given = self._moments(passes, fast, x)
        return _cross_entropy(_head(fast, passes(fast, query_x, given)), query_y)

    def _anil(self, weights: Weights, task: Task, passes: Passes) -> Tensor:
        (x, y), (query_x, query_y) = _pairs(task)
        features = passes(weights, x)
        heads = ["head.weight", "head.bias"]
        fast = self._descend(weights, heads, lambda fast: _cross_entropy(_head(fast, features), y))
        given = self._moments(passes, fast, x)
        return _cross_entropy(_head(fast, passes(fast, query_x, given)), query_y)

    def _protonet(self, weights: Weights, task: Task, passes: Passes) -> Tensor:
        (x, y), (query_x, query_y) = _pairs(task)
        if self.norm == "running":
            features = passes(weights, torch.cat([x, query_x]))
            support, query = features[: len(x)], features[len(x) :]
        else:
            support = passes(weights, x)
            query = passes(weights, query_x, self._moments(passes, weights, x))
        prototypes = torch.stack([support[y == c].mean(0) for c in range(int(y.max()) + 1)])
        if self.method.options["distance"] == "cosine":
            near = F.cosine_similarity(query.unsqueeze(1), prototypes.unsqueeze(0), dim=2)
        else:
            near = -(query.unsqueeze(1) - prototypes.unsqueeze(0)).square().sum(2)
        return _cross_entropy(self.method.options["scale"] * near, query_y)

    def _descend(self, weights: Weights, chosen: list[str], loss: Callable[[Weights], Tensor]) -> Weights:
        options = self.method.options
        second, fast = options.get("order", "first") == "second", dict(weights)
        for _ in range(options["inner_steps"]):
            slopes = torch.autograd.grad(
                loss(fast), [fast[name] for name in chosen], create_graph=second, retain_graph=True
            )
            for name, slope in zip(chosen, slopes, strict=True):
                fast[name] = fast[name] - options["inner_lr"] * slope
        return fast

    def _moments(self, passes: Passes, weights: Weights, x: Tensor) -> Moments | None:
        if self.norm != "batch_support":
            return None
        passes(weights, x)
        return passes.used


def _pairs(task: Task) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    x, query_x = task.support.x, task.query.x
    assert isinstance(x, Tensor) and isinstance(query_x, Tensor)
    return (x, task.support.labels), (query_x, task.query.labels)


def _head(weights: Weights, features: Tensor) -> Tensor:
    return features @ weights["head.weight"].T + weights["head.bias"]


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.exp().sum(1).log() - outputs[torch.arange(len(labels)), labels]).mean()
