"""Multinomial logistic regression with an L2 penalty, solved for many tasks at once in a fixed number of steps.

Newton's method with the bound on the Hessian of Böhning (1992), Multinomial logistic regression algorithm, Annals of
the Institute of Statistical Mathematics 44: where the logits of all classes sum to zero, as they do from a start at
zero, the Hessian of the cross-entropy is at most (X'X) / 2 for each class. One inverse serves all steps and classes,
no step overshoots, and Nesterov's momentum (1983) shortens the way. The objective is scikit-learn's: the sum of the
cross-entropies plus penalty / 2 |weights|^2, the bias free (its C is 1 / penalty). Here two classes have weights each,
as more have.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.embedding import members


def logistic_regression(features: Tensor, labels: Tensor, ways: int, penalty: float, steps: int) -> Tensor:
    """Weights and, as the last column, biases [ways, D + 1] from features [S, D] and labels [S]; -1 is of no class."""
    basis = _basis(features)
    x = F.pad(features @ basis, (0, 1), value=1.0) * (labels >= 0).unsqueeze(1)
    targets = members(labels, ways).to(x.dtype)
    ridge = F.pad(x.new_full((x.shape[1] - 1,), penalty), (0, 1))
    inverse = torch.linalg.inv(x.T @ x / 2 + torch.diag(ridge))
    rule = ahead = x.new_zeros(ways, x.shape[1])
    for step in range(steps):
        slope = ((x @ ahead.T).softmax(1) - targets).T @ x + ahead * ridge
        before, rule = rule, ahead - slope @ inverse
        ahead = rule + step / (step + 3) * (rule - before)
    return torch.cat([rule[:, :-1] @ basis.T, rule[:, -1:]], 1)


def _basis(features: Tensor) -> Tensor:
    """Orthonormal columns [D, min(D, S)] that hold every feature: the weights lie in their span."""
    examples, size = features.shape
    if size <= examples:
        return torch.eye(size, dtype=features.dtype, device=features.device)
    basis: Tensor = torch.linalg.qr(features.T).Q
    return basis
