"""What a finished run's pictures show. Nothing here selects: adaptation is drawn from validation tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metamtl.build import Parts
from metamtl.data.examples import ExampleSource
from metamtl.data.family import Classification, Regression
from metamtl.data.labelled import LabelledClasses
from metamtl.data.sampler import eval_key
from metamtl.data.task import Examples, Task
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.evaluation.choice import with_options
from metamtl.evaluation.examples import outputs_of_examples
from metamtl.evaluation.protocol import BLOCK, evaluate_episodes
from metamtl.runs.result import Summary, summary
from metamtl.runs.task_plot import OneCurve, OneTask, confusion, plot_confusion, plot_task

_FURTHEST = 10  # inner steps, or twice those of the test


def draw_pictures(parts: Parts, folder: Path, prefix: str, tasks: int) -> None:
    """Draws `task.png`, or `confusion.png` of labelled examples, into `folder`; adaptation from `tasks` tasks."""
    if isinstance(parts.source, ExampleSource):
        if isinstance(parts.family, LabelledClasses):
            names = parts.source.output_names or [str(number) for number in range(parts.family.outputs)]
            plot_confusion(folder / f"{prefix}confusion.png", confusion_of_examples(parts), names)
        return
    plot_task(folder / f"{prefix}task.png", one_task(parts), adaptation(parts, tasks), parts.family.metric)


def one_task(parts: Parts) -> OneTask | OneCurve | None:
    """The first episode of the split that is tested; None for what is neither classes nor one number of one number."""
    options, shape = parts.config["eval"], parts.test_shape
    key = eval_key(options["seed"], parts.source, options["split"], shape)
    (arrays,) = parts.source.episodes(options["split"], shape, np.arange(1), key)
    task: Task = parts.preparation.batch(arrays).single()
    learner, network = parts.learner, parts.learner.network
    with torch.no_grad(), parts.testing(), parts.autocast(), network.task(None, task.support):
        outputs = learner.predict(learner.adapt(task.support), task.query.x)
        if type(parts.family) is Classification:
            features = [network.query(part.x, head=False).float() for part in (task.support, task.query)]
            if features[0].dim() != 2:
                return None
            labels = torch.cat([task.support.labels, task.query.labels])
            predicted = outputs[:, : task.query.ways].argmax(1)
            return OneTask(_plane(torch.cat(features)), labels.cpu().numpy(), predicted.cpu().numpy())
    if isinstance(parts.family, Regression) and outputs.shape[1] == 1 and _is_one_number(task.query):
        x, y = (torch.cat([a, b]).flatten().cpu().numpy() for a, b in _pairs(task))
        return OneCurve(x, y, outputs.flatten().cpu().numpy())
    return None


def adaptation(parts: Parts, tasks: int) -> list[tuple[int, Summary]]:
    """The metric after each number of inner steps, on the first validation tasks; [] where there are no such steps."""
    options = parts.config["algo"]
    if "test_steps" not in options:
        return []
    usual = options["inner_steps"] if options["test_steps"] is None else options["test_steps"]
    last = max(_FURTHEST, 2 * usual)
    found = []
    for steps in sorted({round(last * part / _FURTHEST) for part in range(_FURTHEST + 1)}):
        try:
            one = with_options(parts, {"test_steps": steps})
        except UsageError:  # it learns something for every step
            return []
        figures = evaluate_episodes(one, World(0, 1), "val", tasks)
        found.append((steps, summary(figures[parts.family.metric])))
    return found


def confusion_of_examples(parts: Parts) -> np.ndarray:
    """Counts [classes, classes] of the tested split's examples whose class is known."""
    assert isinstance(parts.source, ExampleSource) and isinstance(parts.family, LabelledClasses)
    items, pairs = parts.source.items(parts.config["eval"]["split"]), []
    with parts.testing(), parts.autocast():
        for start in range(0, len(items), BLOCK):
            outputs, examples = outputs_of_examples(parts, items[start : start + BLOCK])
            predicted = parts.family.answers(outputs, examples).argmax(1)
            pairs.append(torch.stack([examples.labels, predicted]).cpu())
    truth, predictions = torch.cat(pairs, 1).numpy()
    known = truth >= 0
    return confusion(truth[known], predictions[known], parts.family.outputs)


def _plane(features: Tensor) -> np.ndarray:
    """The two directions [N, 2] along which features [N, D] differ most."""
    centred = (features - features.mean(0)).double()
    left, scales, _ = torch.linalg.svd(centred, full_matrices=False)
    places = torch.zeros(len(features), 2, dtype=torch.float64)
    found = (left * scales)[:, :2].cpu()
    places[:, : found.shape[1]] = found
    return places.numpy()


def _is_one_number(examples: Examples) -> bool:
    return isinstance(examples.x, Tensor) and examples.x[0].numel() == 1


def _pairs(task: Task) -> list[tuple[Tensor, Tensor]]:
    assert isinstance(task.support.x, Tensor) and isinstance(task.query.x, Tensor)
    return [(task.support.x, task.query.x), (task.support.labels, task.query.labels)]
