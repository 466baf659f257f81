"""R2-D2: an embedding whose features a ridge regression, solved in closed form, tells apart.

Bertinetto, Henriques, Torr & Vedaldi (2019), Meta-learning with Differentiable Closed-form Solvers, ICLR, section 3.2:
W of a task by equation 4 or, with Woodbury's identity, 6, and logits scale * X W + bias by equation 7. The penalty,
scale and bias are meta-learned with the embedding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.algos.heads.ridge import ridge
from metamtl.registry import register


@register("algo", "r2d2")
class R2D2(EmbeddingLearner):
    """Ridge regression on one-hot labels; `penalty` and `scale` are where training starts.

    The penalty is learned as its logarithm, which keeps it positive, and stays as it is unless `learn_penalty`.
    """

    def __init__(self, *, penalty: float, learn_penalty: bool, scale: float, **context: Any) -> None:
        super().__init__(**context)
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)), requires_grad=learn_penalty)
        self.scale, self.bias = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(0.0))

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """W [D, ways] (equations 4 and 6)."""
        return ridge(features, F.one_hot(labels, ways).to(features.dtype), self.log_penalty.exp())

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways] (equation 7)."""
        return self.scale * (features @ rule) + self.bias
