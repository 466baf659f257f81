"""Who takes part: metamtl with one engine or several, and the peers that are installed."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

import torch

from metamtl.bench.peers import loop
from metamtl.bench.problem import Plain, Problem, Weights, distance, make_problem
from metamtl.bench.shapes import Shape
from metamtl.errors import UsageError

Step = Callable[[], Weights]

OURS = "metamtl"
# name: the module of its adapter, and the package that it needs
PEERS = {
    "plain loop": ("loop", "torch"),
    "plain loop, processes": ("processes", "torch"),
    "vmap(grad)": ("vmapped", "torch"),
    "higher": ("higher", "higher"),
    "torchopt": ("torchopt", "torchopt"),
    "learn2learn": ("learn2learn", "learn2learn"),
    "jax": ("jax", "jax"),
}
LOOPS = ("plain loop", "higher", "torchopt", "learn2learn")  # in one process, with all threads
APART = ("jax",)  # compiled beforehand and no PyTorch: a column of its own, in no mean
PATIENCE = 90.0  # seconds
RIGHT = 1e-6  # relative, in float64
CHECKED = 2  # tasks on which a peer is run in float64


def names(engines: Sequence[str], peers: bool, order: str, device: str = "cpu") -> list[str]:
    """The contenders of a run; `engines` are values of the key `engine`, or overrides joined by `+`."""
    typed = [engine if "=" in engine else f"engine={engine}" for engine in engines]
    ours = [OURS if engine == "engine=auto" else f"{OURS} {engine}" for engine in typed]
    return [*ours, *(name for name in PEERS if peers and available(name, order, device))]


def available(peer: str, order: str, device: str = "cpu") -> bool:
    """Whether the peer is installed and computes gradients of this order, there."""
    module, package = PEERS[peer]
    if importlib.util.find_spec(package) is None:
        return False
    adapter = import_module(f"{__package__}.peers.{module}")
    return order in getattr(adapter, "ORDERS", (order,)) and device in getattr(adapter, "DEVICES", (device,))


def stepper(who: str, problem: Problem) -> AbstractContextManager[Step]:
    """The meta-gradient of `problem` as `who` computes it."""
    if who.startswith(OURS):
        return nullcontext(_own(who, problem).meta_gradient)
    return _of_peer(who, _needed(problem.plain(), problem.shape))


def reference(shape: Shape, order: str) -> Weights:
    """The mean meta-gradient in float64: of the plain loop where there is one, else of the engine's own."""
    problem = make_problem(shape, order, "trainer.precision=float64", "engine=loop", "trainer.device=cpu")
    plain = problem.plain(torch.float64)
    return problem.meta_gradient() if plain is None else loop.gradient(plain)


def is_right(who: str, problem: Problem) -> bool:
    """Whether a peer's gradient is that of the plain loop in float64, on a few of the tasks."""
    if who.startswith(OURS):
        return True  # the tests hold that, for every engine
    plain = _needed(problem.plain(torch.float64, CHECKED), problem.shape)
    wanted = loop.gradient(plain)
    with _of_peer(who, plain) as step:
        return distance(step(), wanted) < RIGHT


def settled(who: str, problem: Problem) -> AbstractContextManager[Step]:
    """The same after metamtl has chosen how such updates are run, as it has in a run of more than some seconds."""
    if not who.startswith(OURS):
        return stepper(who, problem)
    own = _own(who, problem)
    own.meta_gradient()
    ends = time.monotonic() + PATIENCE
    while own.parts.engine.deciding and time.monotonic() < ends:
        own.meta_gradient()
    return nullcontext(own.meta_gradient)


def _own(who: str, problem: Problem) -> Problem:
    if who == OURS:
        return problem
    return make_problem(problem.shape, problem.order, *problem.extra, *who.removeprefix(f"{OURS} ").split("+"))


def _of_peer(who: str, plain: Plain) -> AbstractContextManager[Step]:
    found: AbstractContextManager[Step] = import_module(f"{__package__}.peers.{PEERS[who][0]}").stepper(plain)
    return found


def _needed(plain: Plain | None, shape: Shape) -> Plain:
    if plain is None:
        raise UsageError(
            f"Peers compute MAML (adapt=all) on backbone=conv4 or mlp with norm=batch or none; for the shape "
            f"'{shape.name}' leave out --peers."
        )
    return plain
