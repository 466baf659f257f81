"""Transfer while training: learning rates of parts of what is trained, and changes of the update."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from torch import nn

from metamtl.engine.inner import Weights
from metamtl.errors import UsageError
from metamtl.families import Families

NETWORK = "network."
BACKBONE = f"{NETWORK}backbone."
WEIGHTING = "weighting."


class Application:
    """What the strategies of a run do to its updates, whatever they are."""

    def __init__(self, families: Families) -> None:
        self.families, self.transfer = families, families.first.transfer
        self.module: nn.Module = families.module
        self._refuse_what_learns_nothing()

    def groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameter groups: one, or those of the parts that have a rate of their own, and the rest."""
        parts: dict[str, list[nn.Parameter]] = {"rest": []}
        if self.transfer.strategies:
            parts["backbone"] = []
        if self._pace != 1:
            parts["weighting"] = []
        units = self._units
        if units:
            parts["units"] = []
        for name, weight in self.module.named_parameters():
            if weight.requires_grad:
                own = "backbone" if BACKBONE in name else "weighting" if name.startswith(WEIGHTING) else "rest"
                own = "units" if id(weight) in units else own
                parts[own if own in parts else "rest"].append(weight)
        return [{"params": weights, "part": part} for part, weights in parts.items()]

    def rate(self, part: str, step: int) -> float:
        """The factor on the learning rate of a group."""
        if part == "units":  # which are a part of the backbone
            return next(iter(self._units.values())) * self.transfer.rate("backbone", step)
        return self._pace if part == "weighting" else self.transfer.rate(part, step)

    @property
    def _pace(self) -> float:
        return 1.0 if self.families.weighting is None else self.families.weighting.pace

    @cached_property
    def _units(self) -> dict[int, float]:
        """The pace of the weights that belong to a module of the networks which says one, by their identity."""
        every = (part for parts in self.families.each.values() for part in parts.learner.network.modules())
        paced = ((part, float(getattr(part, "pace", 1.0))) for part in every)
        return {id(weight): pace for part, pace in paced if pace != 1 for weight in part.parameters(recurse=False)}

    def changed(self, gradient: Weights, step: int) -> Weights:
        """The update's gradient as the strategies take it.

        Weights that are frozen at this step are not in it, so that the optimiser leaves them and their moments alone.
        """
        if not self.transfer.strategies:
            return gradient
        if self.families.weighting is None:
            parts = self.families.first
            own = {name.removeprefix(NETWORK): slope for name, slope in gradient.items() if name.startswith(NETWORK)}
            taken = self.transfer.changed(own, parts.learner.network, parts.family)
            gradient = {**gradient, **{f"{NETWORK}{name}": slope for name, slope in taken.items()}}
        if self.rate("backbone", step) > 0:
            return gradient
        return {name: slope for name, slope in gradient.items() if BACKBONE not in name}

    def _refuse_what_learns_nothing(self) -> None:
        weights = [name for name, weight in self.module.named_parameters() if weight.requires_grad]
        if self.rate("backbone", 0) == 0 and all(BACKBONE in name for name in weights):
            names = ", ".join(self.transfer.strategies)
            raise UsageError(
                f"transfer={names} trains what stands on the backbone alone at first; "
                f"algo={self.families.config['algo']['name']} has nothing there: take transfer=finetune."
            )
