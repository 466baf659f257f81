"""The families of a run: one as a rule; several share weights, and a weighting makes one update of their gradients.

A weight is shared where several families' learners hold the very same parameter. Any learner over several families is
multi-task meta-learning; with ordinary labelled families and algo=joint it is classic multi-task learning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from metamtl.algos.base import Stage
from metamtl.backbones.norm import Statistics
from metamtl.build import Parts, build_parts
from metamtl.config.families import family_config
from metamtl.data.random import key_of
from metamtl.data.source import Source, TaskShape
from metamtl.engine.inner import Weights
from metamtl.errors import UsageError
from metamtl.multitask.base import Combined, Weighting
from metamtl.multitask.mixing import Mixing, mixing_of
from metamtl.registry import build, lookup
from metamtl.sharing.base import Sharing


class Joined(nn.Module):
    """The learners of several families and what weights them: what a checkpoint holds and the optimiser moves."""

    def __init__(self, families: Mapping[str, nn.Module], weighting: Weighting) -> None:
        super().__init__()
        self.families = nn.ModuleDict(families)
        self.weighting = weighting


@dataclass
class Families:
    """The parts of each family by name; `weighting` is None for one family, whose learner `module` then is.

    `mixing` says which families an update is made of, all of them where it is None.
    """

    config: Mapping[str, Any]
    each: Mapping[str, Parts]
    module: nn.Module
    weighting: Weighting | None
    mixing: Mixing | None = None
    shares: dict[str, float] = field(default_factory=dict)  # the factors of the last update's families
    weighing: float = 0.0  # seconds that the weighting took of the last update, with what it asked for elsewhere

    @property
    def first(self) -> Parts:
        """The parts of the first family, for what all have in common: device, engine, arithmetic."""
        return next(iter(self.each.values()))

    @property
    def stages(self) -> Sequence[Stage]:
        """The stages of training; with several families there is one."""
        return self.first.learner.stages

    @property
    def title(self) -> str:
        """What is learnt on what."""
        return f"{self.config['algo']['name']} on {', '.join(parts.source.name for parts in self.each.values())}"

    def prefix(self, family: str) -> str:
        """What stands before the names of a family's figures: nothing where there is one family."""
        return "" if self.weighting is None else f"{family}/"

    def begin_stage(self, stage: str) -> None:
        """Tells the learners that a stage begins."""
        for parts in self.each.values():
            parts.learner.begin_stage(stage)

    def place(self, stage: str, progress: float) -> None:
        """Tells the learners which stage is trained and the share of it that is done."""
        for parts in self.each.values():
            parts.learner.stage, parts.learner.progress = stage, progress

    def drawn(self, step: int) -> list[str]:
        """The families that update `step` is made of."""
        return list(self.each) if self.mixing is None else self.mixing.drawn(step)

    def update_running(self, statistics: list[Statistics], step: int) -> None:
        """Moves the families' running averages; `statistics` are those of the step's families, one after another."""
        rest = statistics
        for name in self.drawn(step):
            network = self.each[name].learner.network
            count = network.running_layers
            network.update_running(rest[:count])
            rest = rest[count:]

    # ---- one update from several gradients ----

    def combined(self, gradient: Weights, figures: Mapping[str, float], step: int) -> Weights:
        """The gradient of `module`'s weights by name, from the families' means as `FamiliesStream` names them.

        Weights that none of the step's families has are not in it. The weighting never meets what is not finite.
        """
        if self.weighting is None:
            return gradient
        drawn = self.drawn(step)
        self.weighting.present = [place for place, family in enumerate(self.each) if family in drawn]
        rows = self.rows(gradient, drawn)
        losses = torch.tensor([figures[f"{family}/loss"] for family in drawn]).to(rows)
        finite = bool(rows.isfinite().all() and losses.isfinite().all())
        started = time.perf_counter()  # whatever device the rows are on has made them: their numbers were looked at
        update = self.weighting.combine(rows, losses, step) if finite else Combined(rows.mean(0), losses)
        self.shares = dict(zip(drawn, update.shares.tolist(), strict=True))
        self.weighing = time.perf_counter() - started
        parts = torch.split(update.shared, [weight.numel() for weight in self.shared_weights])
        shared = {id(weight): part.view_as(weight) for weight, part in zip(self.shared_weights, parts, strict=True)}
        found: Weights = {}
        for factor, family in zip(update.factors, drawn, strict=True):
            for name, weight in self._own_names[family].items():
                if f"{family}.{name}" in gradient:
                    slope = shared[weight] if weight in shared else factor * gradient[f"{family}.{name}"]
                    found[self._names[weight]] = slope
        return {**found, **{f"weighting.{name}": slope for name, slope in update.own.items()}}

    def rows(self, gradient: Weights, families: Sequence[str]) -> Tensor:
        """The gradients [F, P] of the shared weights, zero where a family has not that weight."""
        like = next(iter(gradient.values()))
        rows = []
        for family in families:
            own = {weight: gradient.get(f"{family}.{name}") for name, weight in self._own_names[family].items()}
            parts = [(own.get(id(weight)), weight) for weight in self.shared_weights]
            slopes = [torch.zeros_like(weight) if slope is None else slope for slope, weight in parts]
            rows.append(torch.cat([like.new_zeros(0), *(slope.reshape(-1) for slope in slopes)]))
        return torch.stack(rows)

    @contextmanager
    def moved(self, change: Tensor) -> Iterator[None]:
        """While it is entered the shared weights stand elsewhere, moved by `change` [P]."""
        kept = [weight.detach().clone() for weight in self.shared_weights]
        parts = torch.split(change, [weight.numel() for weight in kept])
        try:
            with torch.no_grad():
                for weight, part in zip(self.shared_weights, parts, strict=True):
                    weight.add_(part.view_as(weight))
            yield
        finally:
            with torch.no_grad():
                for weight, was in zip(self.shared_weights, kept, strict=True):
                    weight.copy_(was)

    @cached_property
    def shared_weights(self) -> list[nn.Parameter]:
        """The trainable weights that more than one family has."""
        holders: dict[int, list[nn.Parameter]] = {}
        for parts in self.each.values():
            for weight in parts.learner.parameters():
                if weight.requires_grad:
                    holders.setdefault(id(weight), []).append(weight)
        return [found[0] for found in holders.values() if len(found) > 1]

    @cached_property
    def _names(self) -> dict[int, str]:
        """The name that `module` has for each weight, by the weight's identity."""
        return {id(weight): name for name, weight in self.module.named_parameters()}

    @cached_property
    def _own_names(self) -> dict[str, dict[str, int]]:
        """The identity of each family's weights, by the names that its learner has for them."""
        return {
            family: {name: id(weight) for name, weight in parts.learner.named_parameters()}
            for family, parts in self.each.items()
        }


def shares_above(config: Mapping[str, Any]) -> bool:
    """Whether families share layers that lie on top of their own networks."""
    pattern: type[Sharing] = lookup("sharing", config["sharing"]["name"])
    return pattern.above


def build_families(
    config: Mapping[str, Any], sources: Mapping[str, Source], trained: TaskShape | None = None
) -> Families:
    """All objects of a run; UsageError where families cannot share as the config says.

    `trained` is the test shape that the learner of one family was made for, where it is now tested on another.
    """
    if not config["families"]:
        ((name, source),) = sources.items()
        parts = build_parts(config, source, trained)
        return Families(config, {name: parts}, parts.learner, None)
    configs = {name: family_config(config, name) for name in config["families"]}
    sharing: Sharing = build("sharing", config["sharing"])
    if not sharing.own_kinds:
        _refuse_other_backbones(configs)
    shapes = {name: tuple(source.input_shape) for name, source in sources.items()}
    torch.manual_seed(config["seed"])
    backbones = sharing.backbones(
        shapes, lambda name: build("backbone", configs[name]["backbone"], input_shape=shapes[name])
    )
    each: dict[str, Parts] = {}
    for name, own in configs.items():
        torch.manual_seed(key_of(config["seed"], name) >> 1)  # heads begin apart
        earlier = {other: parts.learner for other, parts in each.items()}
        each[name] = build_parts(own, sources[name], backbone=sharing.joined(name, backbones[name], earlier))
        if len(each[name].learner.stages) != 1:
            raise UsageError(
                f"families.{name}: algo={own['algo']['name']} trains in stages, which several families in one run "
                "cannot: take a method with one stage, such as protonet, maml or joint."
            )
    mixing = mixing_of(config["mixing"], sources, config["seed"])
    join(each, mixing)
    weighting = build_weighting(config, sources, mixing)
    like = next(next(iter(each.values())).learner.parameters())
    joined = Joined({name: parts.learner for name, parts in each.items()}, weighting.to(like.device, like.dtype))
    return Families(config, each, joined, weighting, mixing)


def join(each: Mapping[str, Parts], mixing: Mixing) -> None:
    """Makes those learners known to one another that have a stage which is learnt together.

    UsageError where their updates cannot be made of one task of each.
    """
    together = {name: parts for name, parts in each.items() if any(stage.together for stage in parts.learner.stages)}
    if not together:
        return
    algo = next(iter(together.values())).config["algo"]["name"]
    if len(together) == 1 or mixing.most == 1:
        raise UsageError(
            f"algo={algo} adapts to several families at once, and here an update has one at most: give it to another "
            "family as well with mixing.rule=subsets, or take maml."
        )
    _refuse_unpaired(algo, together)
    for name, parts in together.items():
        parts.learner.join({other: there.learner for other, there in together.items() if other != name})


def _refuse_unpaired(algo: str, together: Mapping[str, Parts]) -> None:
    counts = {name: parts.config["trainer"]["meta_batch"] for name, parts in together.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise UsageError(
            f"algo={algo} puts one task of each family beside one of every other, and an update has {said}: set one "
            "trainer.meta_batch for all."
        )
    for name, parts in together.items():
        shape = parts.train_shape
        drawn = [shape.shots, shape.ways] if parts.source.kind == "classification" else [shape.shots]
        if not all(isinstance(one, int) for one in drawn):
            raise UsageError(
                f"families.{name}: algo={algo} runs tasks of several families side by side, which needs fixed ways and "
                "shots in training: give numbers, and not ranges."
            )


def _refuse_other_backbones(configs: Mapping[str, Mapping[str, Any]]) -> None:
    first, *others = configs
    mine = configs[first]["backbone"]
    for name in others:
        other = configs[name]["backbone"]
        differing = [key for key in {**mine, **other} if mine.get(key) != other.get(key)]
        if differing:
            key = "name" if "name" in differing else differing[0]
            typed = "backbone" if key == "name" else f"backbone.{key}"
            raise UsageError(
                f"families.{name} has {typed}={other.get(key)} and families.{first} {typed}={mine.get(key)}: families "
                f"share one backbone; type {typed}=... for all, or take sharing=trunk."
            )


def build_weighting(config: Mapping[str, Any], sources: Mapping[str, Source], mixing: Mixing) -> Weighting:
    """The weighting of a run; UsageError where it cannot do with some of the families."""
    weighting: Weighting = build(
        "weighting", config["weighting"], families={name: source.kind for name, source in sources.items()}
    )
    weighting.seed = config["seed"]
    if weighting.needs_all and mixing.least < len(sources):
        raise UsageError(
            f"weighting={config['weighting']['name']} compares all families at every update: leave mixing.take at "
            "null and mixing.rule at proportional, or take weighting=equal."
        )
    if weighting.needs_two and mixing.most == 1 < len(sources):
        raise UsageError(
            f"weighting={config['weighting']['name']} weighs the families of one update, and mixing.take=1 takes one: "
            "set mixing.take=2 or more, or take weighting=equal."
        )
    return weighting
