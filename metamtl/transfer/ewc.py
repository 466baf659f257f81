"""EWC: weights that matter to the source are held near their old values.

Kirkpatrick et al. (2017), Overcoming catastrophic forgetting in neural networks, PNAS, equation 3: lambda/2 sum_i F_i
(theta_i - theta_i*)^2, with the diagonal F of the Fisher information. Over a chain of runs the importance adds up
around the latest weights: Schwarz et al. (2018), Progress & Compress, ICML, section 3 (online EWC), with `decay`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.data.family import Classification, Family
from metamtl.data.labelled import LabelledClasses
from metamtl.data.task import size
from metamtl.engine.network import Network
from metamtl.engine.terms import Place, Term, View
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.base import Origin, Score, Strategy, Trained
from metamtl.transfer.carry import carry, fitting
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.references import References

Kind = Literal["exact", "sampled", "empirical"]


class Consolidation(Term):
    """The weighted squared distance from the old weights, over those of them whose importance is known."""

    def __init__(self, network: Network, weight: float, at: Place) -> None:
        super().__init__(weight, at)
        kept, weights = at != "outer", dict(network.named_parameters())
        self.old, self.importance = References(weights, kept), References(weights, kept)

    def value(self, view: View) -> Tensor:
        """The penalty [] of equation 3 over lambda."""
        importance = self.importance.values()
        parts = [
            (importance[name] * (view.weights[name] - old).square()).sum() for name, old in self.old.values().items()
        ]
        return 0.5 * torch.stack(parts).sum()


@register("transfer", "ewc")
class EWC(Strategy):
    """`weight` is lambda; `fisher` says whose labels it is taken with, over `examples` training examples."""

    exclusive = "the importance of weights"

    def __init__(self, *, weight: float, fisher: Kind, examples: int, decay: float, at: Place) -> None:
        self.weight, self.fisher, self.examples, self.decay, self.at = weight, fisher, examples, decay, at

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The source's weights, their importance to it, and what remains of that to what it learnt before."""
        (origin,) = origins
        importance = fisher_diagonal(origin.trained(), self.fisher, self.examples)
        before = origin.before.importance if origin.before is not None else {}
        for name, values in before.items():
            if name in importance:
                importance[name] += self.decay * values
        return Knowledge(parameters=origin.parameters, importance=importance)

    def terms(self, network: Network, family: Family) -> list[Term]:
        """One, unless its weight is zero."""
        return [Consolidation(network, self.weight, self.at)] if self.weight else []

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's weights, the head with them."""
        carry(network, knowledge, head=True)

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """The old weights and their importance."""
        for term in terms:
            assert isinstance(term, Consolidation)
            old = term.old.values()
            term.old.put({n: fitting(n, t, knowledge.parameters, knowledge.provenance) for n, t in old.items()})
            term.importance.put(knowledge.importance)


def fisher_diagonal(trained: Trained, kind: Kind, count: int) -> dict[str, Tensor]:
    """The mean squared gradient of log p(y|x): y in expectation (exact), drawn (sampled) or the label (empirical).

    Each example is passed alone, normalised where batches are by the statistics of all examples, as constants: by its
    own it would be nought whatever the weights.
    """
    network = trained.network
    if network.head is None or not isinstance(trained.family, Classification):
        raise UsageError(
            "transfer=ewc needs a source that predicts one class by a head: train it with joint or baseline."
        )
    examples = trained.draw(count)
    weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(0)
    network.transductive = False
    with torch.no_grad():
        statistics = network.support_statistics(examples.x)
    for number in range(size(examples.x)):
        one = examples.map(lambda tensor, at=number: tensor[at : at + 1])  # type: ignore[misc]
        outputs = network.query(one.x, dict(weights), statistics)
        if isinstance(trained.family, LabelledClasses):
            outputs = trained.family.answers(outputs, one)
        logs = F.log_softmax(outputs[0], dim=0)
        for share, label in _labels(kind, logs.detach(), int(one.labels[0]), generator):
            slopes = torch.autograd.grad(logs[label], list(weights.values()), retain_graph=True, materialize_grads=True)
            for name, slope in zip(weights, slopes, strict=True):
                total[name] += share * slope.square()
    return {name: values / size(examples.x) for name, values in total.items()}


def _labels(kind: Kind, logs: Tensor, label: int, generator: torch.Generator) -> Iterator[tuple[float, int]]:
    if kind == "exact":
        yield from ((float(p), number) for number, p in enumerate(logs.exp()))
    elif kind == "sampled":
        yield 1.0, int(torch.multinomial(logs.exp(), 1, generator=generator))
    elif label >= 0:
        yield 1.0, label
