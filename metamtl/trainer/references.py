"""Single-task references: the runs without which no figure of several families says whether learning together helped.

Each family is trained alone, as the same config without the others says, under layers of its own where families share
layers on top of their networks; a run with that config that is there already is taken instead. Figures are compared on
identical test episodes, pair by pair.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metamtl.config.earlier import completed_run
from metamtl.config.families import family_config
from metamtl.config.library import Library
from metamtl.errors import MetamtlError, UsageError
from metamtl.families import shares_above
from metamtl.runs.files import write_json
from metamtl.runs.folder import RunFolder
from metamtl.runs.lock import held
from metamtl.runs.log import say
from metamtl.runs.metric_names import lower_is_better
from metamtl.runs.result import Result, Training, read_episodes, read_result, share, summary
from metamtl.runs.robustness_plot import plot_robustness
from metamtl.runs.units import readable
from metamtl.trainer.beside import cost_beside, record_of, robustness_beside, said_beside

# what may differ between a reference and the config that asks for it
_FREE = (
    "label",
    "note",
    "paths",
    "logger",
    "references",
    "budgets",
    "families",
    "weighting",
    "sharing",
    "mixing",
    "relatedness",
)
_ROUNDING = 1e-12  # a figure this small is 0 but for rounding
Train = Callable[[dict[str, Any]], RunFolder]
Resume = Callable[[Path], None]


def refuse_references(config: Mapping[str, Any]) -> None:
    """UsageError where references are asked for and cannot be had."""
    if config["references"] == "none":
        if config["budgets"]:
            raise UsageError("budgets: labels to reach an accuracy are counted with references=auto: add it.")
        return
    if len(config["families"]) < 2 and not config["transfer"].get("source"):
        raise UsageError(
            "references=auto compares families with each alone, or a transfer with learning from scratch: this run has "
            "one family and no transfer.source."
        )
    if config["budgets"] and (config["families"] or "labels" not in config["data"]):
        raise UsageError("budgets: needs one family whose data takes fewer labels (data.labels), such as data=digits.")
    if "RANK" in os.environ:
        raise UsageError("references=auto does not go with torchrun: run it in one process.")


def with_source(config: dict[str, Any], train: Train, resume: Resume) -> dict[str, Any]:
    """The config with the path of its source, which is trained first where it is told as `{data, algo, set}`."""
    spec = config["transfer"].get("source")
    if not isinstance(spec, Mapping):
        return config
    if "RANK" in os.environ:
        raise UsageError("transfer.source: train the source by itself first; under torchrun no other run is started.")
    own = {**spec["config"], "paths": config["paths"], "logger": config["logger"]}
    found = Finished(config, train, resume).run(own, "source", "the source of transfer")
    return {**config, "transfer": {**config["transfer"], "source": str(found.path)}}


def add_references(run: RunFolder, config: Mapping[str, Any], train: Train, resume: Resume) -> str:
    """Trains or finds each family's reference, writes `references` into the run's result; lines for a person."""
    trained = Finished(config, train, resume)
    references = {
        name: trained.run(_alone(config, name), f"{name}-alone", f"{name} alone, for reference")
        for name in config["families"]
    }
    result = read_result(run)
    result["references"] = compared(result, read_episodes(run), references)
    write_json(run.result_file, result)
    if result["references"]["robustness"]:
        plot_robustness(run)  # again, with each alone
    return "\n".join([_said(result["references"]), *said_beside(result["references"])])


def compared(
    together: Result, episodes: Mapping[str, np.ndarray[Any, Any]], references: Mapping[str, RunFolder]
) -> dict[str, Any]:
    """Each family together and alone, and what follows: Delta m and negative transfer.

    Delta m is the mean over families of (M - M_alone) / M_alone, a share, negated where lower is better, so that more
    is better (Maninis, Radosavovic & Kokkinos 2019, Attentive Single-Tasking of Multiple Tasks, CVPR, equation 4). Its
    interval is that of the paired test figures, as if families had test examples of their own; over seeds it is for a
    comparison of runs. A family whose figure alone is 0 has no relative change: `left_out` names it, and `delta_m` is
    None where no family is left. `negative_transfer` is of all families: the rate at which they are worse together, and
    of each the `gap` by which it is, 0 where it is not, in units of its metric with the 95% interval of the paired
    difference. `mean_rank` is the mean over families of the rank of learning together beside learning alone, 1 the
    better, ties 1.5. `step_ms` are the milliseconds of an update together and of each alone, `step_ratio` those of the
    one together over what it would take with equal weights. `cost` and `robustness`: see `metamtl.trainer.beside`.
    """
    families, times = {}, {}
    for name, reference in references.items():
        whole, record = read_result(reference), together["families"][name]
        alone = record_of(reference, name)
        if alone["episodes_id"] != record["episodes_id"]:
            raise MetamtlError(f"{reference.path} was tested on other episodes than the family {name}: test it again.")
        metric = record["metric"]
        own = read_episodes(reference)[f"{name}/{metric}" if "families" in whole else metric]
        pairs = episodes[f"{name}/{metric}"][: len(own)] - own
        families[name] = {
            "run": reference.path.name,
            "metric": metric,
            "higher_is_better": not lower_is_better(metric),
            "together": record["test"][metric],
            "alone": alone["test"][metric],
            "difference": summary(pairs[~np.isnan(pairs)]),
        }
        times[name] = whole.get("train", {}).get("step_ms")
    train = together.get("train", {})
    return {
        "families": families,
        **_delta(families),
        "mean_rank": _mean_rank(families),
        "step_ms": {"together": train.get("step_ms"), "alone": times},
        "step_ratio": _step_ratio(train),
        "cost": cost_beside(together, references),
        "robustness": robustness_beside(together, references),
    }


def _alone(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config of one family; with the shared layers where they lie above the family's own network."""
    # its own config has references=none, under which a cost that nobody typed is not measured
    config = {**config, "eval": {**config["eval"], "cost": config["eval"]["cost"] is not False}}
    if shares_above(config):
        return {**config, "families": {name: config["families"][name]}}
    return family_config(config, name)


def _delta(families: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    scale = {name: abs(one["alone"]["mean"]) for name, one in families.items()}
    left_out = [name for name in families if scale[name] <= _ROUNDING]
    kept = {name: one for name, one in families.items() if name not in left_out}
    changes = {name: _better(one) / scale[name] for name, one in kept.items()}
    spread = math.sqrt(sum((one["difference"]["ci95"] / scale[name]) ** 2 for name, one in kept.items()))
    delta = (
        {"mean": sum(changes.values()) / len(kept), "ci95": spread / len(kept), "better": "higher"} if kept else None
    )
    return {
        "delta_m": delta,
        "left_out": left_out,
        "changes": changes,
        "negative_transfer": _negative_transfer(families),
    }


def _negative_transfer(families: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    gained = {name: _better(one) for name, one in families.items()}
    gaps = {
        name: {
            "ci95": one["difference"]["ci95"],
            **loss_of(gained[name], one["difference"]["ci95"]),
        }
        for name, one in families.items()
    }
    worse = [name for name, gain in gained.items() if gain < 0]
    return {**share(np.array([gain < 0 for gain in gained.values()])), "families": worse, "gaps": gaps}


def _mean_rank(families: Mapping[str, Mapping[str, Any]]) -> float:
    gained = np.array([_better(one) for one in families.values()])
    return float(np.mean((gained < 0) + 1.0 + 0.5 * (gained == 0)))


def _step_ratio(train: Training) -> float | None:
    """An update's time over the rest of it without its weighting: equal weights are a sum, which takes no time.

    None of a run that did not measure it.
    """
    whole, weighting = train.get("step_ms", 0.0), train.get("weighting_ms")
    return None if weighting is None or whole <= weighting else whole / (whole - weighting)


def loss_of(gained: float, ci95: float) -> dict[str, Any]:
    """The `gap` by which a figure is worse, 0 where it is not, and whether that is `sure` beyond its interval."""
    return {"gap": max(0.0, -gained), "sure": gained + ci95 < 0}


def _better(family: Mapping[str, Any]) -> float:
    """By how much a family is better together than alone, in units of its metric."""
    mean: float = family["difference"]["mean"]
    return mean if family["higher_is_better"] else -mean


class Finished:
    """Runs by their config: those of the outputs folder are taken where they are, others are trained."""

    def __init__(self, config: Mapping[str, Any], train: Train, resume: Resume) -> None:
        self.there = _runs_below(Path(config["paths"]["outputs"]).expanduser())
        self.train, self.resume = train, resume

    def run(self, config: Mapping[str, Any], label: str, title: str) -> RunFolder:
        """The run with this config, less what says nothing of its figures; MetamtlError where it does not finish."""
        own = {**config, "label": f"{label}-s{config['seed']}", "references": "none", "budgets": []}
        # one that another process holds does not count; a completed one goes before one that was stopped
        same = [one for one, settings in self.there if settings == _comparable(own) and not held(one.path)]
        found = min(same, key=lambda one: one.meta()["status"] != "completed", default=None)
        if found is None:
            say(f"{title}:")
            found = self.train(own)
            self.there.append((found, _comparable(own)))
        elif found.meta()["status"] != "completed":
            say(f"{title}, goes on in {found.path}:")
            self.resume(found.path)
        if found.meta()["status"] != "completed":
            raise MetamtlError(f"{title}: it did not finish; `metamtl resume {found.path}` tries again.")
        return found


def _runs_below(outputs: Path) -> list[tuple[RunFolder, dict[str, Any]]]:
    """The runs of a folder, each with what a reference must have in common with it."""
    found, library = [], Library.load()
    for meta in sorted(outputs.glob("*/meta.json")):
        try:
            run = RunFolder.open(meta.parent)
            config = completed_run(run.config(), library)  # keys that came later have their defaults
            found.append((run, _comparable(config)))
        except MetamtlError:  # not a run, or a damaged one
            continue
    return found


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    named = config.get("families") or {}
    families = {name: {**one, "config": _without_cost(one["config"])} for name, one in named.items()}
    shared = {"families": families, "sharing": config["sharing"]} if families else {}
    return {key: value for key, value in _without_cost(config).items() if key not in _FREE} | shared


def _without_cost(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config less `eval.cost`: the cost of a run that was not measured is found later (metamtl.trainer.beside)."""
    return {**config, "eval": {key: value for key, value in config["eval"].items() if key != "cost"}}


def _said(record: Mapping[str, Any]) -> str:
    delta, left_out = record["delta_m"], record["left_out"]
    told = "none"
    if delta is not None:
        told = f"{100 * delta['mean']:+.2f}% ± {100 * delta['ci95']:.2f} (higher is better)"
    gaps = record["negative_transfer"]["gaps"]
    metrics = {name: one["metric"] for name, one in record["families"].items()}
    worse = [
        f"{name} (by {readable(metrics[name], gaps[name]['gap'], gaps[name]['ci95'])} {metrics[name]}"
        f"{'' if gaps[name]['sure'] else ', which may be chance'})"
        for name in record["negative_transfer"]["families"]
    ]
    harmed = f"; worse together: {', '.join(worse)}" if worse else "; none is worse together"
    without = f". Delta m leaves out {', '.join(left_out)}: the figure alone is 0" if left_out else ""
    ranked = f"; mean rank {record['mean_rank']:.2f} of 2"
    ratio = record["step_ratio"]
    costs = f"; an update takes {ratio:.2f} times one of equal weights" if ratio is not None and ratio > 1.005 else ""
    return f"Delta m against each alone {told}{ranked}{costs}{harmed}{without}"
