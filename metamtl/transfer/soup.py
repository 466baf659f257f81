"""A greedy soup: runs are averaged one by one, and kept where the average does better on the target's validation.

Wortsman et al. (2022), Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time, ICML, recipe 1. Running averages are averaged too, not measured anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from metamtl.registry import register
from metamtl.transfer.base import Origin, Score
from metamtl.transfer.fedavg import FedAvg, mean_of
from metamtl.transfer.knowledge import Knowledge


@register("transfer", "soup")
class Soup(FedAvg):
    """The mean of the runs that validation keeps, the best one first."""

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The mean, and in `provenance` which runs are in it.

        Runs are scored as they are carried: without heads unless the mean of these is carried too.
        """
        alone = [score(origin.parameters, self.head) for origin in origins]
        order = sorted(range(len(origins)), key=lambda number: -alone[number])
        chosen, best = [origins[order[0]]], alone[order[0]]
        for number in order[1:]:
            tried = score(mean_of([*chosen, origins[number]], self.head), self.head)
            if tried >= best:
                chosen, best = [*chosen, origins[number]], tried
        kept = [str(origin.provenance["run"]) for origin in chosen]
        provenance = {"soup": {"kept": kept, "score": best, "best_alone": max(alone)}}
        return Knowledge(parameters=mean_of(chosen, self.head), provenance=provenance)
