"""Selection bias: labelled examples count as often as the unlabelled population has their like.

Shimodaira (2000), Improving predictive inference under covariate shift by weighting the log-likelihood function,
Journal of Statistical Planning and Inference 90, with the density ratio of Bickel, Brueckner & Scheffer (2009),
Discriminative Learning Under Covariate Shift, JMLR 10, section 3: a logistic classifier of the features (which it takes
as constants) learns who is labelled, and p(unlabelled|x) / p(labelled|x) is the weight, cut at `largest` and divided by
its mean in the minibatch.
The term adds what the weights change of the loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.data.family import Family
from metamtl.data.labelled import LabelledClasses
from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.base import Strategy
from metamtl.transfer.dann import told_apart
from metamtl.transfer.teacher import features_of


class Reweighted(Term):
    """The mean of (w - 1) times the loss of each labelled example."""

    needs_minibatches = True

    def __init__(self, weight: float, largest: float, family: LabelledClasses, judge: nn.Module) -> None:
        super().__init__(weight, "outer")
        self.largest, self.family = largest, family
        self._judge = (judge,)  # not a module of this term: its weights are its own term's

    def value(self, view: View) -> Tensor:
        """What weighting adds to the loss []; it may be negative."""
        known = view.examples.labels >= 0
        labelled = view.examples.map(lambda tensor: tensor[known])
        outputs = self.family.answers(view.outputs[known], labelled)
        losses = F.cross_entropy(outputs, labelled.labels, reduction="none")
        with torch.no_grad():
            features = features_of(view)[known]
        return ((self.ratios(features) - 1) * losses).mean()

    def ratios(self, features: Tensor) -> Tensor:
        """The weights [N] of labelled examples' features [N, D], of mean one; constants to the learner."""
        (judge,) = self._judge
        with torch.no_grad():
            found = torch.exp(-judge(features)).squeeze(1).clamp(max=self.largest)
        return found / found.mean().clamp(min=1e-12)


class Judgement(Term):
    """The classifier's own loss."""

    needs_minibatches = True

    def __init__(self, judge: nn.Module) -> None:
        super().__init__(1.0, "outer")
        self.judge = judge

    def value(self, view: View) -> Tensor:
        """The cross-entropy [] of who is labelled; UsageError where a minibatch has but one kind."""
        known = view.examples.labels >= 0
        if known.all() or not known.any():
            raise UsageError("transfer=reweight compares examples with and without labels: take data=digit_shift.")
        with torch.no_grad():
            features = features_of(view)
        return told_apart(self.judge(features[known]), self.judge(features[~known]))


@register("transfer", "reweight")
class Reweight(Strategy):
    """There is no source: the data's examples without labels are the population."""

    sources = "none"

    def __init__(self, *, weight: float, largest: float) -> None:
        self.weight, self.largest = weight, largest

    def terms(self, network: Network, family: Family) -> list[Term]:
        """What weights add, and the classifier's loss; none where the weight is zero."""
        if not self.weight:
            return []
        if not isinstance(family, LabelledClasses):
            raise UsageError("transfer=reweight needs ordinary examples with missing labels: take data=digit_shift.")
        judge = nn.Linear(int(network.backbone.features), 1)  # type: ignore[arg-type]
        return [Reweighted(self.weight, self.largest, family, judge), Judgement(judge)]
