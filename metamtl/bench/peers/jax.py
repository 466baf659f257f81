"""JAX: the whole meta-gradient under `jit(grad(mean(vmap(...))))`; compilation is not timed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn

from metamtl.bench.problem import Plain, PlainConv4, PlainMLP, Weights

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # of a GPU's memory others have a part too
jax: Any = import_module("jax")
jnp: Any = import_module("jax.numpy")
lax = jax.lax
Arrays = dict[str, Any]


@contextmanager
def stepper(plain: Plain) -> Iterator[Callable[[], Weights]]:
    """A function that computes the meta-gradient once."""
    jax.config.update("jax_enable_x64", True)  # float32 arrays stay float32; float64 ones are not cut
    jax.config.update("jax_default_matmul_precision", "highest")  # float32 there too, on a GPU
    jax.config.update("jax_platforms", plain.device.type)
    weights = {name: jnp.asarray(w.detach().cpu().numpy()) for name, w in plain.network.named_parameters()}
    tasks = [jnp.asarray(tensor.cpu().numpy()) for tensor in plain.tasks]
    backbone, head = plain.network.get_submodule("backbone"), "head"

    def loss(fast: Arrays, x: Any, y: Any) -> Any:
        outputs = _features(backbone, fast, x) @ fast[f"{head}.weight"].T + fast[f"{head}.bias"]
        if jnp.issubdtype(y.dtype, jnp.floating):
            return jnp.mean((outputs - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], axis=1))

    def outer(fast: Arrays, support_x: Any, support_y: Any, query_x: Any, query_y: Any) -> Any:
        for _ in range(plain.steps):
            slopes = jax.grad(loss)(fast, support_x, support_y)
            slopes = lax.stop_gradient(slopes) if plain.order == "first" else slopes
            fast = {name: w - plain.rate * slopes[name] for name, w in fast.items()}
        return loss(fast, query_x, query_y)

    def mean(fast: Arrays, *tasks: Any) -> Any:
        return jnp.mean(jax.vmap(outer, in_axes=(None, 0, 0, 0, 0))(fast, *tasks))

    compiled = jax.jit(jax.grad(mean))

    def step() -> Weights:
        found = jax.block_until_ready(compiled(weights, *tasks))
        return {name: torch.from_numpy(np.array(found[name])) for name in weights}

    yield step


def _features(backbone: nn.Module, weights: Arrays, x: Any) -> Any:
    if isinstance(backbone, PlainMLP):
        x = x.reshape(len(x), -1)
        for number, layer in enumerate(backbone.layers):
            name = f"backbone.layers.{number}"
            x = x @ weights[f"{name}.0.weight"].T + weights[f"{name}.0.bias"]
            x = jax.nn.relu(_normalised(layer, weights, name, x))
        return x
    assert isinstance(backbone, PlainConv4)
    for number, block in enumerate(backbone.blocks):
        name, convolution = f"backbone.blocks.{number}", block.get_submodule("0")
        assert isinstance(convolution, nn.Conv2d)
        x = lax.conv_general_dilated(x, weights[f"{name}.0.weight"], convolution.stride, [(1, 1), (1, 1)])
        if convolution.bias is not None:
            x = x + weights[f"{name}.0.bias"].reshape(1, -1, 1, 1)
        x = jax.nn.relu(_normalised(block, weights, name, x))
        if convolution.stride == (1, 1):
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return x.mean((2, 3)) if backbone.mean else x.reshape(len(x), -1)


def _normalised(layer: nn.Module, weights: Arrays, name: str, x: Any) -> Any:
    """With the batch's statistics, where the layer normalises."""
    if isinstance(layer.get_submodule("1"), nn.Identity):
        return x
    axes, shape = (0, *range(2, x.ndim)), (1, -1, *(1,) * (x.ndim - 2))
    centred = x - x.mean(axes, keepdims=True)
    scaled = centred * lax.rsqrt((centred**2).mean(axes, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.1.weight"].reshape(shape) + weights[f"{name}.1.bias"].reshape(shape)
