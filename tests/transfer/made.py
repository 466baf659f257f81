"""Small runs on digits and on drawings that strategies are tried on, and the objects of such runs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metamtl.build import Parts
from metamtl.config.compose import compose
from metamtl.config.library import Library
from metamtl.data.task import Examples
from metamtl.engine.terms import Term, View
from metamtl.engine.world import World
from metamtl.errors import Pruned
from metamtl.families import Families, build_families
from metamtl.opening import open_sources
from metamtl.runs.folder import RunFolder
from metamtl.trainer.run import train_run
from metamtl.trainer.source import take_over

# auto becomes another strategy before the run starts, reweight needs labels that are missing (test_domains)
_OFFERED = Library.load().groups["transfer"]
NAMES = tuple(sorted(_OFFERED.keys() - {"none", "auto", "reweight"}))
DIGITS = (
    "algo=joint",
    "data=digits",
    "data.components=6",
    "backbone.hidden=[5]",
    "backbone.norm=none",
    "trainer.precision=float64",
    "trainer.batch_size=8",
    "trainer.device=cpu",
    "trainer.threads=1",
    "trainer.pictures=0",
)
# strategies that need maps, and so another network on other data
IMAGES = {"attention"}
SEVERAL = {"soup", "fedavg", "fusion"}
WITHOUT = {"rules": ["transfer.rules.constraints=[{if: {input: 0, above: 0.0}, then: {classes: [0, 1, 2]}}]"]}


_PLACE = "/the folder of the run"


@functools.cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    """Most of these runs last no longer than composing their configs does, and many differ in their folder alone."""
    return compose([*overrides, f"paths.outputs='{_PLACE}'"])


def composed(folder: Path, *overrides: str) -> dict[str, Any]:
    """The config of a run whose outputs, and those of the runs that it names, are in `folder`."""

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [placed(one) for one in value]
        return str(folder) if value == _PLACE else value

    config: dict[str, Any] = placed(_composed(overrides))
    return config


def trained(folder: Path, *overrides: str) -> Path:
    """The folder of a finished run."""
    config = composed(folder, *overrides, "eval.episodes=4", "eval.val_episodes=4")
    run = train_run(config, ["metamtl", "train"])
    assert run is not None
    return run.path


def stopped(folder: Path, at: int, *overrides: str) -> Path:
    """The folder of a run that was stopped at the validation of step `at`."""

    def watch(step: int, figures: Mapping[str, float]) -> None:
        if step >= at:
            raise Pruned("enough")

    config = composed(folder, *overrides, "eval.episodes=4", "eval.val_episodes=4")
    with pytest.raises(Pruned):
        train_run(config, ["metamtl", "train"], watch=watch)
    (found,) = folder.glob("*")
    return found


def with_source(name: str, source: Path) -> list[str]:
    """The overrides that choose a strategy and its source, or what it has instead of one."""
    if name in WITHOUT:
        return [f"transfer={name}", *WITHOUT[name]]
    given = f"[{source},{source}]" if name in SEVERAL else str(source)
    return [f"transfer={name}", f"transfer.source={given}"]


def families_of(folder: Path, *overrides: str) -> Families:
    """The objects of a run after its sources' knowledge was taken over."""
    config = composed(folder, *overrides)
    families = build_families(config, open_sources(config))
    run = RunFolder.create(folder, config, ["metamtl"], "made")
    take_over(families, World(0, 1), run, fresh=True)
    families.module.train()
    return families


def batch(parts: Parts, step: int = 0) -> Examples:
    """A prepared minibatch of the run's training examples."""
    items, labels = parts.source.minibatch("train", 8, step, 1)  # type: ignore[attr-defined]
    prepare = parts.preparation
    return Examples(prepare.every_input(parts.source.gather(items)), prepare.targets(labels), None)  # type: ignore[attr-defined]


def view_of(parts: Parts, weights: Mapping[str, Tensor]) -> View:
    """What a term sees under some weights."""
    examples, network = batch(parts), parts.learner.network
    return View(network, weights, examples, network.support(examples.x, weights))


def terms_of(parts: Parts) -> dict[str, Term]:
    return {name: term for name, term in parts.learner.terms.items() if isinstance(term, Term)}


def moved(network: nn.Module, seed: int = 3) -> dict[str, Tensor]:
    """The network's weights, a little changed, as leaves of a graph."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (weight + 0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
        .detach()
        .requires_grad_()
        for name, weight in network.named_parameters()
    }


def section(name: str) -> Mapping[str, Any]:
    """The strategy's own keys and their defaults, as its file has them."""
    found: Mapping[str, Any] = _OFFERED[name].raw[name]
    return found
