"""SimpleShot: supervised pre-training, then the nearest class mean of centred features of unit length.

Wang, Chao, Weinberger & van der Maaten (2019), SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot
Learning, arXiv 1911.04623, section 3: features as they are (UN), of unit length (L2N), or less the mean feature of the
base classes and then of unit length (CL2N).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.base import Stage
from metamtl.algos.distances import similarity
from metamtl.algos.pretraining import Pretrained
from metamtl.algos.protonet import class_means
from metamtl.backbones.centre import Centre
from metamtl.backbones.norm import NormKind
from metamtl.data.tagging import Tagging
from metamtl.engine.network import Network
from metamtl.errors import UsageError
from metamtl.registry import register


@register("algo", "simpleshot")
class SimpleShot(Pretrained):
    """Trained on minibatches; a task's classifier has nothing to choose.

    The mean feature of the base classes is a running average over the minibatches of training, kept as those of
    normalisation are. With `backbone.norm=batch`, where every pass has statistics of its own, features are centred by
    the mean of their pass.
    """

    labels_words = True
    stages: Sequence[Stage] = (Stage("pretrain", "minibatches"),)

    def __init__(self, *, transform: Literal["UN", "L2N", "CL2N"], **context: Any) -> None:
        self.transform = transform
        super().__init__(**context)

    def build_network(self, backbone: nn.Module, norm: NormKind) -> Network:
        """The backbone, with the centring of its features where it is asked for, under the base classes' head."""
        if self.transform != "CL2N":
            return super().build_network(backbone, norm)
        if isinstance(self.family, Tagging):
            raise UsageError(
                "algo.transform=CL2N: the mean feature of words is that of words of no entity, and of padding: take "
                "algo.transform=L2N."
            )
        kept: NormKind = "batch" if norm == "batch" else "running"
        return super().build_network(Centre.after(backbone), kept)

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """Class means [ways, D] of the transformed features."""
        return class_means(self._transformed(features), labels, ways)

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Minus the squared distances [Q, ways]."""
        return similarity("euclidean", self._transformed(features), rule)

    def _transformed(self, features: Tensor) -> Tensor:
        return features if self.transform == "UN" else F.normalize(features, dim=1)
