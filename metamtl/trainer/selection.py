"""Which weights of an adaptation are tested, chosen in three ways that are kept apart.

- source: the validation of the source's labels, as every run selects; these weights are the run's best.pt;
- unsupervised: the mutual information between the target's validation examples and what is predicted of them, the
  entropy of the mean prediction less the mean entropy (Shi & Sha 2012, Information-theoretical learning of
  discriminative clusters for unsupervised domain adaptation, ICML, equation 5), in nats;
- oracle: accuracy on the target's validation labels, which no adaptation has. It bounds what selection can give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metamtl.build import Parts
from metamtl.data.shift import ShiftedSource
from metamtl.data.task import Examples
from metamtl.engine.world import World
from metamtl.evaluation.protocol import evaluate_episodes, summaries
from metamtl.families import Families
from metamtl.runs import checkpoints
from metamtl.runs.folder import RunFolder
from metamtl.trainer.checkpoint import Progress, learner_of, to_bytes

CRITERIA = ("unsupervised", "oracle")


def heard(families: Families, run: RunFolder | None, progress: Progress) -> dict[str, float]:
    """The two other criteria at a validation, by the names they are logged under; keeps the best weights by each."""
    parts = families.first
    if not isinstance(parts.source, ShiftedSource):
        return {}
    values = dict(zip(CRITERIA, criteria(parts, parts.source), strict=True))
    for name, value in values.items():
        if name not in progress.chosen or value > progress.chosen[name][1]:
            progress.chosen[name] = [progress.total, value]
            if run is not None:
                payload = to_bytes({"learner": families.module.state_dict()})
                checkpoints.save(run.checkpoints, name, payload, {"step": progress.total})
    return {f"val/{name}": value for name, value in values.items()}


def criteria(parts: Parts, source: ShiftedSource) -> tuple[float, float]:
    """The mutual information in nats and the accuracy on the target's validation examples."""
    x = parts.preparation.every_input(source.gather(source.held_out))
    with torch.no_grad(), parts.testing():
        state = parts.learner.adapt(Examples(x, x))
        predicted = parts.learner.predict(state, x).double().softmax(1).cpu()
    hits = predicted.argmax(1).numpy() == source.oracle
    return float(mutual_information(predicted)), float(np.mean(hits))


def mutual_information(predicted: Tensor) -> Tensor:
    """The entropy of the mean of predictions [N, C] less the mean of their entropies, [], in nats."""
    return _entropy(predicted.mean(0, keepdim=True)).mean() - _entropy(predicted).mean()


def columns(families: Families, run: RunFolder, progress: Progress, test: Mapping[str, Any]) -> dict[str, Any]:
    """The target's test figure under the weights that each criterion chose; the source's own is `test`."""
    parts = families.first
    kept = {name: tensor.clone() for name, tensor in families.module.state_dict().items()}
    metric = parts.family.metric
    found: dict[str, Any] = {"source": {"step": progress.best_step, "val": progress.best_value, "test": test[metric]}}
    for name, (step, value) in progress.chosen.items():
        payload = checkpoints.load(run.checkpoints, name, int(step)).payload
        families.module.load_state_dict(learner_of(payload))
        figures = evaluate_episodes(parts, World(0, 1), "test", parts.config["eval"]["episodes"])
        found[name] = {"step": int(step), "val": value, "test": summaries(parts, figures)[metric]}
    families.module.load_state_dict(kept)
    return found


def described(found: Mapping[str, Any]) -> str:
    """A line for a person."""
    figures = ", ".join(f"{name} {100 * one['test']['mean']:.2f}% (step {one['step']})" for name, one in found.items())
    return f"target accuracy by who selects: {figures}; oracle reads target labels"


def _entropy(predicted: Tensor) -> Tensor:
    return -(predicted * predicted.clamp(min=1e-12).log()).sum(1)
