"""A learner with the fast state of one support set: what every predictor and every exported program runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from metamtl.backbones.recall import anew
from metamtl.build import Parts, build_parts
from metamtl.config.earlier import completed
from metamtl.data.inputs import RecordedSource
from metamtl.data.task import Examples

AT_ONCE = 256  # examples of a pass, so that any number of them fits in memory


@dataclass(frozen=True)
class Adapted:
    """`state` is what the learner made of a support set of `ways` classes (None for regression).

    `inputs` is the record of the data's inputs; `origin` says in plain values where the weights come from and how they
    were tested (`metamtl.deploy.origin`).
    """

    parts: Parts
    state: Any
    ways: int | None
    inputs: dict[str, Any]
    origin: dict[str, Any]

    @property
    def transductive(self) -> bool:
        """Whether examples that are predicted together are normalised together."""
        return bool(self.parts.config["eval"]["transductive"]) and self.parts.learner.network.norm == "batch"

    def outputs(self, x: NDArray[Any]) -> Tensor:
        """Outputs [N, ways], or [N, targets], in float64 on the CPU for examples x [N, ...] as the data is stored."""
        at_once = len(x) if self.transductive else AT_ONCE
        prepared = self.parts.preparation.inputs
        with in_use(self.parts):
            found = [self.live(prepared(x[start : start + at_once])) for start in range(0, len(x), at_once)]
        return torch.cat(found).double().cpu()

    def live(self, x: Tensor) -> Tensor:
        """Outputs [N, ways], or [N, targets], of examples as the network takes them, inside `in_use`."""
        return self.parts.learner.predict(self.state, x)[:, : self.ways]


@contextmanager
def in_use(parts: Parts, support: Examples | None = None) -> Iterator[None]:
    """While the learner adapts to `support` and predicts: its test phase, without an outer graph or noise.

    Texts come once, and fewer at a time than would be encoded at once to be kept.
    """
    with torch.no_grad(), anew(), parts.testing(), parts.learner.network.task(None, support):
        yield


def build_for_use(settings: Mapping[str, Any], inputs: Mapping[str, Any], device: str) -> Parts:
    """The objects of a run from its settings and the record of its data, in float32; its data need not be here.

    UsageError where the device is not. The caller's random numbers are left as they were. No engine computes, so that
    compiled kernels are not looked for.
    """
    config = completed(settings)
    config["trainer"] = {**config["trainer"], "device": device, "precision": "float32", "fused": False}
    with torch.random.fork_rng(devices=[]):
        return build_parts(config, RecordedSource(inputs))


def with_statistics(parts: Parts, transductive: bool) -> Parts:
    """The same learner, its predictions normalised with one another or, as one picture at a time needs it, not."""
    evaluation = {**parts.config["eval"], "transductive": transductive}
    return replace(parts, config={**parts.config, "eval": evaluation})


def support_of(parts: Parts, x: NDArray[Any], y: NDArray[Any], ways: int | None) -> Examples:
    """A support set on the learner's device from stored examples x [N, ...] and classes or values y [N, ...]."""
    return Examples(parts.preparation.inputs(x), parts.preparation.targets(y), ways)
