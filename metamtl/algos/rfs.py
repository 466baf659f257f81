"""RFS: a supervised embedding, and logistic regression on its normalised features for every task.

Tian, Wang, Krishnan, Tenenbaum & Isola (2020), Rethinking Few-Shot Image Classification: a Good Embedding Is All You
Need?, ECCV, sections 3.1 and 3.2. With `generations`, each is distilled from the one before, as born-again networks
(Furlanello et al. 2018): the same network, begun anew, fits labels and its teacher's softened outputs (equation 6).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.base import Stage
from metamtl.algos.logistic import logistic_regression
from metamtl.algos.pretraining import Pretrained
from metamtl.data.random import permutation
from metamtl.data.task import Examples
from metamtl.engine.network import Network
from metamtl.registry import register


@register("algo", "rfs")
class RFS(Pretrained):
    """Stages: `pretrain`, then `distill1`, `distill2` ... of which the last is trained for `trainer.steps`."""

    labels_words = True

    def __init__(
        self,
        *,
        normalise: bool,
        penalty: float,
        head_steps: int,
        generations: int,
        temperature: float,
        distill_weight: float,
        **context: Any,
    ) -> None:
        super().__init__(**context)
        self.normalise, self.penalty, self.head_steps = normalise, penalty, head_steps
        self.temperature, self.distill_weight = temperature, distill_weight
        names = ["pretrain", *(f"distill{number + 1}" for number in range(generations))]
        self.stages = tuple(Stage(name, "minibatches") for name in names)
        self.teacher: Network | None = None
        if generations:
            self.teacher = _without_parameters(self.network)
            self._beginning = copy.deepcopy(self.network.state_dict())

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """Logistic regression [ways, D + 1] on features [S, D]; its last column is the bias."""
        return logistic_regression(self._normalised(features), labels, ways, self.penalty, self.head_steps)

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways]."""
        return F.pad(self._normalised(features), (0, 1), value=1.0) @ rule.T

    def begin_stage(self, stage: str) -> None:
        """What was trained becomes the teacher, and the network begins anew."""
        if self.teacher is None or stage == "pretrain":
            return
        self.teacher.load_state_dict(self.network.state_dict())
        generation = [one.name for one in self.stages].index(stage)
        fixed = self.network.constants
        begun = {n: w if n in fixed else _shuffled(w, generation) for n, w in self._beginning.items()}
        self.network.load_state_dict(begun)

    def minibatch_loss(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Cross-entropy; in later generations its weighted sum with the divergence from the teacher."""
        loss, outputs = super().minibatch_loss(examples)
        if self.teacher is None or self.stage in ("", "pretrain"):
            return loss, outputs
        self.teacher.eval()
        with torch.no_grad():
            taught = self.teacher.query(examples.x)
        known = examples.labels >= 0  # not where there is no word
        apart = divergence(outputs[known], taught[known], self.temperature)
        return (1 - self.distill_weight) * loss + self.distill_weight * apart, outputs

    def _normalised(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=1) if self.normalise else features


def divergence(outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """KL [] of outputs [N, C] from the teacher's, both softened; T^2 keeps its gradient's size (Hinton et al. 2015)."""
    student, teacher = (F.log_softmax(logits / temperature, dim=1) for logits in (outputs, taught))
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _without_parameters(network: Network) -> Network:
    """A copy whose weights are buffers: saved with the run, never trained, no part of the model's size."""
    held = copy.deepcopy(network)
    for module in held.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, weight.detach())
    return held


def _shuffled(tensor: Tensor, generation: int) -> Tensor:
    """Its entries in another order: what was drawn independently is so again, without a random state to keep."""
    order = torch.from_numpy(permutation(tensor.numel(), 0, generation))
    return tensor.flatten()[order.to(tensor.device)].view_as(tensor)
