"""Learning without forgetting: on new examples, the outputs of old classes stay as the source had them.

Li & Hoiem (2016), Learning without Forgetting, ECCV, equations 2 and 3: distillation at temperature 2 over the classes
that the source was trained on, with no example of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.registry import register
from metamtl.transfer.base import Origin, Score
from metamtl.transfer.carry import carry
from metamtl.transfer.kd import KD, Outputs
from metamtl.transfer.knowledge import Knowledge


class OldOutputs(Outputs):
    """The divergence from the teacher over `classes`, the old ones."""

    classes: Sequence[int] = ()

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        taught, old = self.taught(view.examples.x), list(self.classes)
        student, teacher = (
            F.log_softmax(logits[:, old] / self.temperature, dim=1) for logits in (view.outputs, taught)
        )
        return self.temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


@register("transfer", "lwf")
class LwF(KD):
    """The target begins with the source's weights and its head; over a chain, old classes add up."""

    called = "lwf"

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The teacher, and the classes that it was trained on."""
        knowledge = super().extract(origins, score)
        labels = origins[0].trained().draw(10**9).labels.flatten().tolist()
        seen = {int(label) for label in labels if label >= 0}
        before = origins[0].before
        knowledge.teacher["classes"] = sorted(seen | set(before.teacher.get("classes", ()) if before else ()))
        return knowledge

    def term(self) -> OldOutputs:
        """The divergence over old classes."""
        return OldOutputs(self.weight, self.temperature)

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's weights, the head with them."""
        carry(network, knowledge, head=True)

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """The teacher, and the old classes."""
        super().remember(network, terms, knowledge)
        for term in terms:
            assert isinstance(term, OldOutputs)
            term.classes = knowledge.teacher["classes"]
