"""An embedding that starts as a classifier of all meta-train classes, as supervised training has it."""

from __future__ import annotations

from torch import Tensor, nn

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.backbones.norm import NormKind
from metamtl.data.task import Examples
from metamtl.engine.network import Network
from metamtl.errors import UsageError


class Pretrained(EmbeddingLearner):
    """Base of learners with a stage on minibatches; their network's head serves that stage alone."""

    def build_network(self, backbone: nn.Module, norm: NormKind) -> Network:
        """The backbone under a classifier of all meta-train classes."""
        if self.family.classes == 0:
            raise UsageError(
                f"algo={self.option()} pre-trains a classifier of meta-train classes, of which {self.family.name} has "
                "none: take algo=protonet or maml, on ordinary labelled examples joint."
            )
        return Network(backbone, self.classifier(backbone.features, self.family.classes), norm)  # type: ignore[arg-type]

    def classifier(self, features: int, classes: int) -> nn.Module:
        """The layer from features [N, features] to logits [N, classes] of the meta-train classes."""
        return nn.Linear(features, classes)

    def minibatch_loss(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Cross-entropy over all meta-train classes."""
        outputs = self.network.query(examples.x)
        return self.family.loss(outputs, examples), outputs
