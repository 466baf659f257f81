"""What the property tests run on: every learner that conf/ offers, over tiny networks, and a problem to learn.

A new method is tested as soon as conf/algo holds its option.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from metamtl.algos.base import Learner, Stage
from metamtl.config.compose import compose
from metamtl.config.library import Library
from metamtl.data.family import Classification, Family
from metamtl.data.task import Examples, Minibatch, TaskBatch
from metamtl.engine.plan import How, usual_plan
from metamtl.engine.tasks import Engine, Figures
from metamtl.engine.update import Update
from metamtl.registry import build
from tests.algos.sentences import SHAPE, Sentences

WAYS, CLASSES = 5, 40


@dataclass(frozen=True)
class Trial:
    """How a learner meets the tiny problem: what differs from its defaults, and the accuracy that it has to pass."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    accuracy: float = 0.85


# learners over features of words: what differs from their defaults, and the F1 over entities that they have to pass
TAGGERS = {
    "protonet": Trial({}, 0.7),
    "baseline": Trial({"head_batch": 25, "head_lr": 1.0}, 0.7),
    "baselinepp": Trial({"head_batch": 200, "head_lr": 1.0}, 0.7),
    "rfs": Trial({"penalty": 0.01}, 0.7),
    "simpleshot": Trial({"transform": "L2N"}, 0.7),
    "metabaseline": Trial({}, 0.7),
}

# options that are no few-shot learners: they adapt to no support set
ORDINARY = {"joint", "lamaml"}
OFFERED = Library.load().groups["algo"]
NAMES = tuple(sorted(OFFERED.keys() - ORDINARY))
# options that make another method of one, as they are typed: each is put through the same properties
VARIANTS = (
    "anil head_init=prototype",
    "cavia conditioning=shift",
    "maml head_init=prototype",
    "mamlpp head_init=prototype",
    "mann protocol=sequential",
    "matching full_context=true",
    "metaoptnet head=ridge",
    "rfs generations=1",
)
EVERY = (*NAMES, *VARIANTS)
TINY = {
    "mlp": (12,),
    "conv4": (1, 8, 8),
    "text": SHAPE,
}

# learners that meet the tiny problem in another setting, or learn less of it in as many updates
TRIALS = {
    # one hidden layer would have both to tell signal from noise and to change with the task
    "boil": Trial({"hidden": [32, 32], "inner_steps": 5}),
    # some scales and shifts under a head that no task changes say little of which class is which
    "cavia": Trial({"hidden": [64], "inner_steps": 5}, 0.65),
    # fewer steps of both loops take less time, and its directions are tested on their own
    "imaml": Trial({"inner_steps": 8, "cg_steps": 3}),
    # its LSTM runs once for every weight, as do the next one's makers of fast weights, which is most of their time
    "learned_optimizer": Trial({"units": 8}),
    "metanet": Trial({"generator": 4}, 0.75),
    # smaller steps of its codes learn this problem from whatever noise is drawn
    "leo": Trial({"code_lr": 0.1, "weight_lr": 0.1}),
    # one step, its default, needs more updates to move the rates that far
    "metasgd": Trial({"inner_steps": 5}),
    # these tasks are of one mode, and modulating them makes the path of updates at this rate less steady
    "mmaml": Trial({}, 0.75),
    # Adam's default rate is for long training; a displacement says less of a task than a gradient of the query loss
    "reptile": Trial({"hidden": [32, 32], "inner_lr": 0.01, "inner_steps": 8, "test_steps": 20, "test_batch": 25}, 0.7),
    # it learns to compare by itself, and its own sizes take more time than a test has
    "snail": Trial({"filters": 16, "keys": [32, 32], "values": [32, 32]}, 0.7),
}
# learners that need more than 120 updates for the tiny problem
SLOWER = {
    "boil": 200,  # the head, which no task changes, has to wait for features that do
    "cnp": 200,  # it learns to compare by itself
    "snail": 160,
    "relation": 300,  # equal scores for all pairs are a plateau of its squared error
}
# learners that need 60 updates
QUICKER = frozenset(
    {
        *("baseline", "baselinepp", "feat", "mamlpp", "matching", "metabaseline", "metacurvature", "metanet"),
        *("metaoptnet", "metasgd", "protonet", "r2d2", "rfs", "simpleshot"),
    }
)
# learners that a test has no time to train
TOO_SLOW = {
    "mann": "it leaves chance after some hundred updates of many tasks; test_ablated_context.py has it learn codes"
}
# learners with neither weights nor a stage to train them in
UNTRAINED = {"centroid": "it compares raw inputs", "chance": "it looks at nothing"}
# learners whose outputs do not depend on the labels they are shown
BLIND = {"chance": "its outputs are equal"}
# learners that read labels as one-hot inputs, so that renaming classes renames columns of weights too: each has a test
# of that in its own file
CODED = {"mann": "its controller reads labels", "snail": "its tokens hold labels"}
# learners that read the support set as a sequence; in training its order is that of the task's number
ORDERED = {
    "matching full_context=true": "LSTMs embed its examples one after another",
    "mann": "what is in its memory depends on what was written when",
    "metanet": "an LSTM reads the examples' gradients one after another",
    "snail": "its convolutions and attention are causal",
}
# learners whose meta-gradient has a second order even over a linear model under a linear loss
NOT_FLAT = {
    **{name: "of a linear model it learns nothing" for name in VARIANTS if "head_init=prototype" in name},
    "boil": "a linear model is all head, which its inner loop leaves alone",
    "cavia": "its context multiplies the weights of the layer that it conditions",
    "mmaml": "a linear model has no layer for it to modulate",
}
# learners whose head is not the network's own before its first step
MADE = {name: "class means make its head" for name in VARIANTS if "head_init=prototype" in name}
# learners that a batch of tasks of other shots does not join: the test of a run has one number of them
FIXED = {"mann protocol=sequential": "it reports as many accuracies as a class has presentations"}


def option_of(name: str) -> str:
    """The method's option, of a variant too."""
    return name.split()[0]


def listed(name: str, table: Container[str]) -> bool:
    """Whether a table has the learner, or the one that it is a variant of."""
    return name in table or option_of(name) in table


@cache
def config_of(name: str, backbone: str) -> Mapping[str, Any]:
    """The learner's own defaults, but for a variant's options, over a tiny network."""
    small = {
        "mlp": ["backbone.hidden=[32]"],
        "conv4": ["backbone.width=8", "backbone.blocks=2"],
        "text": ["backbone.vocabulary=60", "backbone.width=16", "backbone.blocks=0"],
    }
    options = [f"algo.{option}" for option in name.split()[1:]]
    return compose([f"algo={option_of(name)}", *options, "data=glyphs", f"backbone={backbone}", *small[backbone]])


def options_of(name: str) -> Mapping[str, Any]:
    options: Mapping[str, Any] = config_of(name, "mlp")["algo"]
    return options


def names_with(
    *options: str, except_for: Mapping[str, str] = MappingProxyType({}), among: Sequence[str] = NAMES
) -> list[str]:
    """The learners that have these options, but for those excepted, each with its reason.

    Their files are asked: composing them all would take longer than reading every test.
    """
    having = [name for name in among if OFFERED[option_of(name)].raw["algo"].keys() >= set(options)]
    return [name for name in having if not listed(name, except_for)]


def at_rate(name: str, rate: float) -> dict[str, Any]:
    """The options that set a learner's inner rate, or where its learned rates start."""
    if "inner_lr" in options_of(name):
        return {"inner_lr": rate}
    return {"initial_lr": [rate, rate] if isinstance(options_of(name)["initial_lr"], list) else rate}


def make(
    name: str,
    backbone: str = "mlp",
    norm: str = "none",
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    hidden: list[int] | None = None,
    family: Family | None = None,
    **changes: Any,
) -> Learner:
    """The learner `name` with its own defaults but for `changes`, in training mode."""
    config = config_of(name, backbone)
    torch.manual_seed(seed)
    network = {**config["backbone"], "norm": norm}
    if hidden is not None:
        network["hidden"] = hidden
    body = build("backbone", network, input_shape=TINY[backbone])
    family = family or Classification("blobs", WAYS, classes=CLASSES)
    options = {**config["algo"], **changes}
    learner: Learner = build("algo", options, backbone=body, family=family, norm=norm)
    return learner.to(dtype)


def engine_of(learner: Learner, how: How = "auto") -> Engine:
    return Engine(learner, learner.network, usual_plan(how, 1, "full", torch.device("cpu")), noise_seed=0)


def outputs_of(learner: Learner, support: Examples, x: Tensor) -> Tensor:
    """Adapts and predicts as a caller without an engine does."""
    outputs: Tensor = learner.predict(learner.adapt(support), x)
    return outputs.detach()


class Blobs:
    """Classes that differ in some directions of a space and spread widely in all the others.

    Told apart they are by who has learnt which directions matter; classes are drawn anew for every task.
    """

    def __init__(self, shape: tuple[int, ...], seed: int = 0, signal: int = 4) -> None:
        self.shape, self.signal = shape, signal
        self.dimensions = int(torch.Size(shape).numel())
        self.generator = torch.Generator().manual_seed(seed)
        self.turn: Tensor = torch.linalg.qr(self._normal(self.dimensions, self.dimensions)).Q
        self.train_means = self._normal(CLASSES, signal)

    def tasks(self, count: int, shots: int = 5, queries: int = 5, train: bool = True) -> TaskBatch:
        """Tasks of meta-train classes, or of new ones."""
        choices = [torch.randperm(CLASSES, generator=self.generator)[:WAYS] for _ in range(count)]
        means = self.train_means[torch.stack(choices)] if train else self._normal(count, WAYS, self.signal)
        sets = [self._draw(means.unsqueeze(2).expand(-1, -1, of_each, -1)) for of_each in (shots, queries)]
        return TaskBatch(sets[0], sets[1], torch.arange(count))

    def minibatch(self, size: int = 64) -> Minibatch:
        """Examples of the meta-train classes."""
        labels = torch.randint(CLASSES, (size,), generator=self.generator)
        return Minibatch(Examples(self._examples(self.train_means[labels]), labels, CLASSES))

    def pairs(self, size: int = 32) -> Minibatch:
        """Pairs of examples of meta-train classes, half of them of one class."""
        classes = torch.randint(CLASSES, (2, size), generator=self.generator)
        classes[1, ::2] = classes[0, ::2]
        first, second = (self._examples(self.train_means[of_twin]) for of_twin in classes)
        return Minibatch(Examples({"first": first, "second": second}, (classes[0] == classes[1]).long(), 2))

    def _draw(self, means: Tensor) -> Examples:
        tasks, ways, of_each, _ = means.shape
        labels = torch.arange(ways).repeat_interleave(of_each).expand(tasks, -1)
        return Examples(self._examples(means).flatten(1, 2), labels, ways)

    def _examples(self, means: Tensor) -> Tensor:
        wide = 2.0 * self._normal(*means.shape[:-1], self.dimensions - self.signal)
        near = means + 0.1 * self._normal(*means.shape)
        return (torch.cat([near, wide], -1) @ self.turn).reshape(*means.shape[:-1], *self.shape)

    def _normal(self, *size: int) -> Tensor:
        return torch.randn(size, generator=self.generator, dtype=torch.float64)


def begin(learner: Learner, stage: Stage) -> None:
    """What the trainer tells a learner before the first update of a stage."""
    learner.begin_stage(stage.name)
    learner.stage = stage.name


class Episodes(Protocol):
    """Problems that give tasks."""

    def tasks(self, count: int, shots: int = ..., queries: int = ..., train: bool = ...) -> TaskBatch:
        """Tasks of meta-train classes, or of new ones."""


def update(engine: Engine, stream: str, drawn: Episodes, step: int, tasks: int = 4) -> Update:
    """One update's sums, from the stream that a stage asks for."""
    if stream == "episodes":
        return engine.meta_gradient([drawn.tasks(tasks)])
    if stream == "pairs":
        assert isinstance(drawn, Blobs)
        return engine.minibatch_gradient(drawn.pairs(), step)
    assert isinstance(drawn, Blobs | Sentences)
    return engine.minibatch_gradient(drawn.minibatch(), step)


def learn(learner: Learner, problem: Episodes, steps: int, rate: float, tasks: int = 4) -> None:
    """Meta-trains by Adam, stage by stage, all weights but those that want no gradient."""
    engine = engine_of(learner.train())
    for stage in learner.stages:
        begin(learner, stage)
        weights = {name: weight for name, weight in learner.named_parameters() if weight.requires_grad}
        optimizer = torch.optim.Adam(weights.values(), lr=rate)
        for step in range(steps):
            found = update(engine, stage.stream, problem, step, tasks)
            for name, weight in weights.items():
                weight.grad = found.gradient[name] / found.tasks
            optimizer.step()


def figures_of_new_classes(learner: Learner, blobs: Episodes, tasks: int = 40) -> Figures:
    """Figures of new classes in the test phase."""
    learner.eval()
    return engine_of(learner).evaluate([blobs.tasks(tasks, train=False)])
