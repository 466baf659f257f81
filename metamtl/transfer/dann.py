"""DANN: features from which a critic cannot tell source and target examples.

Ganin et al. (2016), Domain-Adversarial Training of Neural Networks, JMLR 17, equations 9 to 14: the critic lowers the
cross-entropy of the domain, the features raise it, at a weight that grows as 2 / (1 + exp(-gamma p)) - 1 with the share
p of training that is done. The paper reverses a gradient; here the two have a loss each. Features meet a critic whose
weights are constants, also within an inner loop, and the critic meets features that are constants.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metamtl.data.family import Family
from metamtl.engine.network import Network
from metamtl.engine.terms import Place, Term, View
from metamtl.registry import register
from metamtl.transfer.alignment import Alignment, Distance


class Deception(Distance):
    """What the features lower: the critic's cross-entropy, negated, times the ramp."""

    def __init__(self, weight: float, at: Place, gamma: float, critic: nn.Module) -> None:
        super().__init__(weight, at)
        self.gamma = gamma
        self._critic = (critic,)  # not a module of this term: its weights are the critic's own term's

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        (critic,) = self._critic
        fixed = {name: weight.detach() for name, weight in critic.named_parameters()}
        pair = self.seen(view)
        source, target = (functional_call(critic, fixed, (features,)) for features in pair)
        return -self.ramp(view.progress) * told_apart(source, target)

    def ramp(self, progress: float) -> float:
        """The share of the weight at a share of training."""
        return 2 / (1 + math.exp(-self.gamma * progress)) - 1

    def seen(self, view: View) -> tuple[Tensor, Tensor]:
        """What the critic sees of source and target, [N, K] and [M, K]: features."""
        return self.domains(view)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        """How well [] the critic tells two sets of what it sees apart: its cross-entropy."""
        (critic,) = self._critic
        return told_apart(critic(source), critic(target))


class Criticism(Term):
    """The critic's own loss, in the outer loss alone."""

    def __init__(self, deception: Deception, critic: nn.Module) -> None:
        super().__init__(1.0, "outer")
        self.critic = critic
        self._deception = (deception,)

    def value(self, view: View) -> Tensor:
        """The cross-entropy [] of the domain."""
        (deception,) = self._deception
        source, target = (one.detach() for one in deception.seen(view))
        return deception.between(source, target)


def told_apart(source: Tensor, target: Tensor) -> Tensor:
    """The cross-entropy [] of logits [N, 1] and [M, 1] that an example is the source's; both domains count alike."""
    ones, zeros = torch.ones_like(source), torch.zeros_like(target)
    parts = (F.binary_cross_entropy_with_logits(logits, wanted) for logits, wanted in ((source, ones), (target, zeros)))
    return torch.stack(list(parts)).mean()


@register("transfer", "dann")
class DANN(Alignment):
    """A critic of one hidden layer on the last features; `gamma` is the steepness of the ramp."""

    def __init__(self, *, weight: float, examples: int, gamma: float, hidden: int, at: Place) -> None:
        super().__init__(weight=weight, examples=examples)
        self.gamma, self.hidden, self.at = gamma, hidden, at

    def penalties(self, network: Network, family: Family) -> list[Term]:
        """The features' loss and the critic's."""
        critic = self.critic(int(network.backbone.features))  # type: ignore[arg-type]
        deception = Deception(self.weight, self.at, self.gamma, critic)
        return [deception, Criticism(deception, critic)]

    def critic(self, inputs: int) -> nn.Module:
        """From what it sees [N, inputs] to a logit [N, 1]."""
        return nn.Sequential(nn.Linear(inputs, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1))
