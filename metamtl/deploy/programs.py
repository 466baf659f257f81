"""What is exported, as modules of one tensor: bytes of pictures in, scaling included, probabilities or features out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.build import Parts
from metamtl.deploy.adapted import Adapted


class Scaled(nn.Module):
    """Stored examples to the network's input: bytes [N, C, H, W] as `Preparation` scales them, floats as they are."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: dict[str, Any]) -> None:
        super().__init__()
        mean, std = preprocessing.get("mean"), preprocessing.get("std")
        self.shifted = mean is not None and std is not None
        self.register_buffer("mean", torch.tensor(mean or [0.0]).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std or [1.0]).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Float32, the same shape."""
        if x.dtype is not torch.uint8:
            return x
        levels = x.to(torch.float32) / 255
        return (levels - self.mean) / self.std if self.shifted else levels


class Classifier(nn.Module):
    """`probabilities` [N, ways] and `score` [N], the highest output before the softmax."""

    def __init__(self, adapted: Adapted) -> None:
        super().__init__()
        self.scaled = Scaled(adapted.parts.source.preprocessing)
        self.learner, self.state, self.ways = adapted.parts.learner, adapted.state, adapted.ways

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of examples x [N, ...] as the data is stored."""
        outputs = self.learner.predict(self.state, self.scaled(x))[:, : self.ways]
        return outputs.softmax(1), outputs.amax(1)


class Function(nn.Module):
    """`values` [N, targets]."""

    def __init__(self, adapted: Adapted) -> None:
        super().__init__()
        self.learner, self.state = adapted.parts.learner, adapted.state

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """At inputs x [N, ...]."""
        return (self.learner.predict(self.state, x),)


class Embedding(nn.Module):
    """`features` [N, D] of single examples, by the statistics of a support set where its learner needs them."""

    def __init__(self, parts: Parts, statistics: Any = None) -> None:
        super().__init__()
        self.scaled = Scaled(parts.source.preprocessing)
        self.network, self.statistics = parts.learner.network, statistics

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Of examples x [N, ...] as the data is stored."""
        return (self.network.query(self.scaled(x), statistics=self.statistics, head=False),)


def embedding_of(parts: Parts, state: Any = None) -> Embedding | None:
    """The embedding of a metric learner; None where there is none, or it needs a support set and has none."""
    if not isinstance(parts.learner, EmbeddingLearner):
        return None
    network, statistics = parts.learner.network, getattr(state, "statistics", None)
    alone = network.norm != "batch" and network.film is None
    return Embedding(parts, statistics) if alone or statistics is not None else None
