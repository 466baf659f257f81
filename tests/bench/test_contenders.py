"""Every peer computes the meta-gradient it is timed at, and one that does not is found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import pytest
import torch

from metamtl.bench import contenders
from metamtl.bench.contenders import PEERS, available, is_right, names, reference, stepper
from metamtl.bench.peers import loop
from metamtl.bench.problem import Plain, Problem, Weights, distance, make_problem
from metamtl.bench.shapes import Shape
from metamtl.errors import UsageError
from tests.bench.problems import SMALL, STRIDED, WAVES

ORDERS = ("first", "second")
EXACT = ("trainer.precision=float64",)


@cache
def problem_of(shape: Shape, order: str) -> Problem:
    """Composed once for all peers: none of them changes its weights, which every one of them would notice."""
    return make_problem(shape, order)


@cache
def wanted_of(shape: Shape, order: str) -> Weights:
    return reference(shape, order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SMALL, ids=lambda shape: shape.name)
def test_the_plain_loop_and_every_engine_agree_in_float64(shape: Shape, order: str) -> None:
    wanted = wanted_of(shape, order)
    assert all(torch.isfinite(g).all() for g in wanted.values())
    for engine in ("auto", "loop"):
        assert distance(make_problem(shape, order, *EXACT, f"engine={engine}").meta_gradient(), wanted) < 1e-9
    other = "first" if order == "second" else "second"
    assert distance(wanted_of(shape, other), wanted) > 1e-4  # so that orders cannot be mistaken for one another


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "peer",
    # JAX compiles each shape twice
    [pytest.param(peer, marks=pytest.mark.slow if peer == "jax" else ()) for peer in PEERS if peer != "plain loop"],
)
def test_a_peer_is_right(peer: str, order: str) -> None:
    if not available(peer, order):
        pytest.skip(f"{peer} is not installed, or knows no {order} order")
    for shape in SMALL:
        problem = problem_of(shape, order)
        assert is_right(peer, problem), shape.name
        with stepper(peer, problem) as step:
            assert distance(step(), wanted_of(shape, order)) < 1e-4
            assert distance(step(), wanted_of(shape, order)) < 1e-4  # a step leaves the weights as they were


def test_a_wrong_peer_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def wrong(plain: Plain) -> Iterator[Callable[[], Weights]]:
        yield lambda: {name: 1.00001 * g for name, g in loop.gradient(plain).items()}

    monkeypatch.setattr("metamtl.bench.peers.vmapped.stepper", wrong)
    assert not is_right("vmap(grad)", problem_of(WAVES, "second"))


def test_who_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = ["auto", "loop", "engine=vmap+seed=3"]
    found = names(engines, peers=False, order="second")
    assert found == ["metamtl", "metamtl engine=loop", "metamtl engine=vmap+seed=3"]
    problem = problem_of(WAVES, "second")
    with stepper(found[1], problem) as step:
        assert distance(step(), wanted_of(WAVES, "second")) < 1e-4
    with stepper(found[2], problem) as step:  # other weights and tasks
        assert distance(step(), wanted_of(WAVES, "second")) > 1e-2
    monkeypatch.setitem(contenders.PEERS, "absent", ("loop", "a_package_that_nobody_has"))
    found = names(["auto"], peers=True, order="second")
    assert found[:4] == ["metamtl", "plain loop", "plain loop, processes", "vmap(grad)"] and "absent" not in found


def test_peers_refuse_what_they_cannot_compute() -> None:
    protonet = Shape("own", ("algo=protonet", *STRIDED.overrides[1:5], "trainer.meta_batch=2"), (1, 8, 8))
    problem = make_problem(protonet, "second")
    assert problem.inner_steps is None and distance(problem.meta_gradient(), reference(protonet, "second")) < 1e-3
    with pytest.raises(UsageError, match="leave out --peers"), stepper("plain loop", problem):
        pass


def test_tasks_of_several_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"give task\.shots a number"):
        make_problem(Shape("own", (*STRIDED.overrides, "task.shots=[1,3]"), (1, 8, 8)), "second")
