"""How well a source will serve a target, before any training: from one pass of the target's labelled examples.

- LEEP: Nguyen, Hassner, Seeger & Archambeau (2020), LEEP: A New Measure to Evaluate Transferability of Learned
  Representations, ICML, equation 2, from the source's own predictions;
- LogME: You, Liu, Wang & Long (2021), LogME: Practical Assessment of Pre-trained Models for Transfer Learning, ICML,
  equation 3 and algorithm 3, the evidence of linear models on the source's features, one for each class;
- H-score: Bao et al. (2019), An Information-Theoretic Approach to Transferability in Task Transfer Learning, ICIP,
  equation 4, tr(cov(f)^-1 cov(E[f|y])).

More is better in all three.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROUNDS = 100  # of LogME's fixed point, which takes a few


def leep(predicted: Tensor, labels: Tensor) -> float:
    """The mean log-likelihood of labels [N] under the classifier that the source's predictions [N, Z] make."""
    classes = int(labels.max()) + 1
    joint = torch.zeros(classes, predicted.shape[1], dtype=torch.float64)
    joint.index_add_(0, labels, predicted.double())
    conditional = joint / joint.sum(0, keepdim=True).clamp(min=1e-12)  # P(y|z)
    chances = (predicted.double() @ conditional.T)[torch.arange(len(labels)), labels]
    return float(chances.clamp(min=1e-12).log().mean())


def h_score(features: Tensor, labels: Tensor) -> float:
    """The share of the features' [N, D] variance that lies between classes, summed over directions."""
    centred = (features - features.mean(0)).double()
    means = torch.stack([centred[labels == one].mean(0) for one in labels])  # each example's class mean
    within = centred.T @ centred / len(centred)
    between = means.T @ means / len(means)
    return float(torch.linalg.pinv(within, rcond=1e-9, hermitian=True).mul(between.T).sum())


def logme(features: Tensor, labels: Tensor) -> float:
    """The mean over classes of the largest log evidence an example of Bayesian linear models on features [N, D]."""
    x = features.double()
    left, scales, _ = torch.linalg.svd(x, full_matrices=False)
    targets = [(labels == one).double() for one in sorted(set(labels.tolist()))]
    return sum(_evidence(left, scales.square(), target, x.shape[1]) for target in targets) / len(targets)


def _evidence(left: Tensor, squares: Tensor, target: Tensor, width: int) -> float:
    """The largest log evidence an example over the precisions alpha (weights) and beta (noise)."""
    count, along = len(target), (left.T @ target).square()
    rest = max(float(target.square().sum() - along.sum()), 0.0)
    alpha = beta = 1.0
    for _ in range(ROUNDS):
        shrunk = alpha / (alpha + beta * squares)
        gamma = float((1 - shrunk).sum())
        length = float((beta**2 * squares * along / (alpha + beta * squares).square()).sum())  # |m|^2
        error = rest + float((shrunk.square() * along).sum())
        before = alpha, beta
        alpha, beta = gamma / max(length, 1e-12), (count - gamma) / max(error, 1e-12)
        if abs(alpha - before[0]) <= 1e-6 * before[0] and abs(beta - before[1]) <= 1e-6 * before[1]:
            break
    shrunk = alpha / (alpha + beta * squares)
    length = float((beta**2 * squares * along / (alpha + beta * squares).square()).sum())
    error = rest + float((shrunk.square() * along).sum())
    logs = width * math.log(alpha) + count * math.log(beta) - count * math.log(2 * math.pi)
    determinant = float((alpha + beta * squares).log().sum()) + (width - len(squares)) * math.log(alpha)
    return (logs - determinant - beta * error - alpha * length) / (2 * count)
