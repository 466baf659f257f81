"""A validation: the figures of held-out validation tasks, and the one number by which weights are selected."""

from __future__ import annotations

from dataclasses import dataclass

from metamtl.engine.world import World
from metamtl.evaluation.protocol import evaluate_episodes, summaries
from metamtl.families import Families
from metamtl.runs.metric_names import in_percent
from metamtl.runs.result import Summary
from metamtl.runs.units import readable

LEAST = 0.1  # of accuracy, F1 and other shares


@dataclass(frozen=True)
class Validation:
    """`score` selects; `values` are for the metric stream, by the names it has there; `text` is for a person."""

    score: float
    higher_is_better: bool
    values: dict[str, float]
    text: str


def validate(families: Families, world: World, before: dict[str, float]) -> Validation:
    """Tests every family on its validation split; `before` keeps each one's metric at the run's first validation."""
    episodes = families.config["eval"]["val_episodes"]
    values: dict[str, float] = {}
    now: dict[str, Summary] = {}
    for name, parts in families.each.items():
        figures = evaluate_episodes(parts, world, "val", episodes)
        metric, of = parts.family.metric, families.prefix(name)
        found = summaries(parts, figures)
        now[name] = found[metric]
        # those of single classes (`f1/artist`) are for the test
        values |= {f"val/{of}{figure}": each["mean"] for figure, each in found.items() if "/" not in figure}
        values[f"val/{of}{metric}_ci95"] = now[name]["ci95"]
    metrics = {name: f"{families.prefix(name)}{parts.family.metric}" for name, parts in families.each.items()}
    text = ", ".join(f"{metric} {readable(metric, *_interval(now[name]))}" for name, metric in metrics.items())
    if families.weighting is None:
        return Validation(next(iter(now.values()))["mean"], families.first.family.higher_is_better, values, text)
    score = _mean_change(families, now, before)
    return Validation(score, True, {**values, "val/score": score}, f"{100 * score:+.1f}% since the first: {text}")


def _interval(one: Summary) -> tuple[float, float]:
    return one["mean"], one["ci95"]


def _mean_change(families: Families, now: dict[str, Summary], before: dict[str, float]) -> float:
    """The mean over families of the metric's relative change since the first validation; more is better in each.

    A share that begins below LEAST counts as beginning there: from nought any change would outweigh all other families.
    """
    changes = []
    for name, parts in families.each.items():
        mean = now[name]["mean"]
        start = before.setdefault(name, mean)
        sign = 1.0 if parts.family.higher_is_better else -1.0
        least = LEAST if in_percent(parts.family.metric) else 1e-12
        changes.append(sign * (mean - start) / max(abs(start), least))
    return sum(changes) / len(changes)
