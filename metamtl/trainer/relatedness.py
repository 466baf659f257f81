"""How the families of a run are related while they are trained: measured at steps, summed up in the result.

Every measurement goes to metrics.jsonl: `affinity/i>j`, the share of loss j that a step for family i takes away, and
`cosine/i-j`, between their gradients. The summary is read from there, so that a resumed run's is an unbroken one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, permutations
from typing import Any

import torch

from metamtl.families import Families
from metamtl.multitask.grouping import best_groups
from metamtl.multitask.relatedness import affinities, cosines
from metamtl.runs.folder import RunFolder
from metamtl.runs.metrics import read
from metamtl.trainer.elsewhere import Elsewhere


def measured(families: Families, elsewhere: Elsewhere, step: int) -> dict[str, float]:
    """Affinities and cosines of all families on the tasks or examples of a step, at the cost of F + 1 updates."""
    names = list(families.each)
    gradients, losses = elsewhere.here(step)
    rate = families.config["relatedness"]["rate"]
    affinity, cosine = affinities(gradients, losses, elsewhere, rate, step).tolist(), cosines(gradients).tolist()
    return {
        **{f"affinity/{names[i]}>{names[j]}": affinity[i][j] for i, j in permutations(range(len(names)), 2)},
        **{f"cosine/{names[i]}-{names[j]}": cosine[i][j] for i, j in combinations(range(len(names)), 2)},
    }


def summed_up(run: RunFolder, families: Families) -> dict[str, Any]:
    """The means over training, and the groups that fit the affinities best; {} where none was measured."""
    lines = [line for line in read(run.metrics_file) if any(name.startswith("affinity/") for name in line)]
    if not lines:
        return {}
    means = {name: sum(line[name] for line in lines) / len(lines) for name in lines[0] if "/" in name}
    names, options = list(families.each), families.config["relatedness"]
    affinity = torch.zeros(len(names), len(names), dtype=torch.float64)
    for i, j in permutations(range(len(names)), 2):
        affinity[i, j] = means[f"affinity/{names[i]}>{names[j]}"]
    groups = best_groups(affinity, options["groups"])
    return {
        "affinity": _below("affinity/", means),
        "cosine": _below("cosine/", means),
        "groups": [[names[at] for at in group] for group in groups],
        "measured": len(lines),
        "rate": options["rate"],
    }


def _below(prefix: str, means: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix(prefix): mean for name, mean in means.items() if name.startswith(prefix)}
