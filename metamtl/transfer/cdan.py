"""CDAN: a critic of features together with what is predicted from them.

Long, Cao, Wang & Jordan (2018), Conditional Adversarial Domain Adaptation, NeurIPS, equation 5: the critic sees the
outer product of features and predictions, and the loss passes through both (the authors' code stops it at the latter).
"""

from __future__ import annotations

from torch import Tensor

from metamtl.data.family import Family
from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.dann import DANN, Criticism, Deception
from metamtl.transfer.teacher import refuse_without_classes


class Conditional(Deception):
    """The critic sees features and predictions."""

    def seen(self, view: View) -> tuple[Tensor, Tensor]:
        """The products [N, D C] and [M, D C]."""
        source, target = (self._product(view, features) for features in self.domains(view))
        return source, target

    def _product(self, view: View, features: Tensor) -> Tensor:
        head = {name: weight for name, weight in view.weights.items() if name.startswith("head.")}
        predicted = view.network.classify(features, head).softmax(1)
        return (features.unsqueeze(2) * predicted.unsqueeze(1)).flatten(1)


@register("transfer", "cdan")
class CDAN(DANN):
    """As DANN, on products."""

    def penalties(self, network: Network, family: Family) -> list[Term]:
        """The features' loss and the critic's; UsageError where nothing is predicted by a head."""
        if network.head is None:
            raise UsageError(
                "transfer=cdan needs predictions of a head, which this method has not: take transfer=dann."
            )
        refuse_without_classes("cdan", family)
        critic = self.critic(int(network.backbone.features) * family.outputs)  # type: ignore[arg-type]
        deception = Conditional(self.weight, self.at, self.gamma, critic)
        return [deception, Criticism(deception, critic)]
