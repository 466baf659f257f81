"""Single-task references: the runs without which no figure of several families says whether learning together helped.

Each family is trained alone, as the same config without the others says; a run with that config that is there already
is taken instead. Figures are compared on identical test episodes, pair by pair.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metamtl.config.families import family_config
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.files import write_json
from metamtl.runs.folder import RunFolder
from metamtl.runs.lock import held
from metamtl.runs.metric_names import lower_is_better
from metamtl.runs.result import Result, Summary, read_episodes, read_result, summary

# what may differ between a reference and the config that asks for it
_FREE = ("label", "paths", "logger", "references", "families", "weighting", "sharing", "mixing", "relatedness")
Train = Callable[[dict[str, Any]], RunFolder]
Resume = Callable[[Path], None]


def refuse_references(config: Mapping[str, Any]) -> None:
    """UsageError where references are asked for and cannot be had."""
    if config["references"] == "none":
        return
    if not config["families"]:
        raise UsageError("references=auto compares families with each alone: this run has one family.")
    if "RANK" in os.environ:
        raise UsageError("references=auto does not go with torchrun: run it in one process.")


def add_references(run: RunFolder, config: Mapping[str, Any], train: Train, resume: Resume) -> str:
    """Trains or finds each family's reference, writes `references` into the run's result; a line for a person."""
    there = _runs_below(Path(config["paths"]["outputs"]).expanduser())
    references = {name: _reference(run, config, name, there, train, resume) for name in config["families"]}
    result = read_result(run)
    result["references"] = compared(result, read_episodes(run), references)
    write_json(run.result_file, result)
    return _said(result["references"])


def compared(
    together: Result, episodes: Mapping[str, np.ndarray[Any, Any]], references: Mapping[str, RunFolder]
) -> dict[str, Any]:
    """Each family together and alone, and what follows: Delta m and the rate of negative transfer.

    Delta m is the mean over families of (M - M_alone) / M_alone, negated where lower is better, so that more is better
    (Maninis, Radosavovic & Kokkinos 2019, Attentive Single-Tasking of Multiple Tasks, CVPR, equation 4). Its interval
    is that of the paired test figures; over seeds it is for a comparison of runs.
    """
    families = {}
    for name, reference in references.items():
        alone, record = read_result(reference), together["families"][name]
        if alone["episodes_id"] != record["episodes_id"]:
            raise MetamtlError(f"{reference.path} was tested on other episodes than the family {name}: test it again.")
        metric = next(key for key in alone["best"] if key != "step").removeprefix("val/")
        own = read_episodes(reference)[metric]
        pairs = episodes[f"{name}/{metric}"][: len(own)] - own
        families[name] = {
            "run": reference.path.name,
            "metric": metric,
            "higher_is_better": not lower_is_better(metric),
            "together": record["test"][metric],
            "alone": alone["test"][metric],
            "difference": summary(pairs[~np.isnan(pairs)]),
        }
    return {"families": families, **_delta(families)}


def _delta(families: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    signs = {name: 1.0 if one["higher_is_better"] else -1.0 for name, one in families.items()}
    scale = {name: max(abs(one["alone"]["mean"]), 1e-12) for name, one in families.items()}
    changes = {name: signs[name] * one["difference"]["mean"] / scale[name] for name, one in families.items()}
    spread = math.sqrt(sum((one["difference"]["ci95"] / scale[name]) ** 2 for name, one in families.items()))
    worse = [name for name, change in changes.items() if change < 0]
    return {
        "delta_m": {"mean": sum(changes.values()) / len(changes), "ci95": spread / len(changes), "better": "higher"},
        "changes": changes,
        "negative_transfer": {"rate": len(worse) / len(changes), "families": worse},
    }


def _reference(
    run: RunFolder,
    config: Mapping[str, Any],
    name: str,
    there: Sequence[tuple[RunFolder, dict[str, Any]]],
    train: Train,
    resume: Resume,
) -> RunFolder:
    own = {**family_config(config, name), "label": f"{name}-alone-s{config['seed']}", "references": "none"}
    # one that another process holds does not count; a completed one goes before one that was stopped
    same = [one for one, settings in there if settings == _comparable(own) and not held(one.path)]
    found = min(same, key=lambda one: one.meta()["status"] != "completed", default=None)
    if found is None:
        print(f"{name} alone, for reference:", flush=True)
        found = train(own)
    elif found.meta()["status"] != "completed":
        print(f"{name} alone, for reference, goes on in {found.path}:", flush=True)
        resume(found.path)
    if found.meta()["status"] != "completed":
        raise MetamtlError(f"The reference of {name} did not finish: `metamtl resume {run.path}` tries again.")
    return found


def _runs_below(outputs: Path) -> list[tuple[RunFolder, dict[str, Any]]]:
    """The runs of a folder, each with what a reference must have in common with it."""
    found = []
    for meta in sorted(outputs.glob("*/meta.json")):
        try:
            run = RunFolder.open(meta.parent)
            found.append((run, _comparable(run.config())))
        except MetamtlError:  # not a run, or a damaged one
            continue
    return found


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _FREE} | {"several": bool(config.get("families"))}


def _said(record: Mapping[str, Any]) -> str:
    delta: Summary = record["delta_m"]
    worse = record["negative_transfer"]["families"]
    harmed = f"; worse together: {', '.join(worse)}" if worse else "; none is worse together"
    return (
        f"Delta m against each alone {100 * delta['mean']:+.2f}% ± {100 * delta['ci95']:.2f} (higher is better){harmed}"
    )
