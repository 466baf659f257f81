"""Where a deployed model comes from: all that is read from a run's folder, in plain values that are saved with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metamtl.config.earlier import completed_run
from metamtl.data.inputs import describe_inputs
from metamtl.data.opening import open_source
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.files import read_json
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import read_result

# what builds the learner; `data`, `paths` and `logger` stay out: they tell of a machine and not of the model
SETTINGS = ("task", "seed", "engine", "trainer", "eval", "backbone", "algo", "transfer", "weighting")
FIGURES = (
    "test",
    "meta_train",
    "gap",
    "episodes_id",
    "split",
    "task",
    "model",
    "normalisation",
    "transduction",
    "best",
)


def open_trained(path: Path) -> RunFolder:
    """The run at `path`; MetamtlError where it has no weights yet."""
    run = RunFolder.open(path)
    if not any((run.checkpoints / f"{name}.pt").exists() for name in ("best", "previous-best")):
        raise MetamtlError(
            f"{path} has no checkpoints/best.pt: it has not reached its first validation. Let it train on with "
            f"`metamtl resume {path}`."
        )
    return run


def settings_of(run: RunFolder) -> dict[str, Any]:
    """The part of the run's config that builds its learner as it was tested; UsageError for a run on several data sets.

    `eval.choose` was decided on validation when the run was tested: `algo` has what it chose.
    """
    config = completed_run(run.config())
    if config["families"]:
        raise UsageError(f"{run.path} learnt several families at once; adapting takes a run on one data set.")
    settings = {key: config[key] for key in SETTINGS if key in config}
    return {**settings, "algo": {**config["algo"], **choice_of(run)}}


def choice_of(run: RunFolder) -> dict[str, Any]:
    """The keys of `algo` that `eval.choose` decided on validation; empty where nothing was to choose, or not yet."""
    choices = _result(run).get("choices")
    return dict(choices[0]["options"]) if choices else {}


def notes_of(run: RunFolder) -> list[str]:
    """What a user of the run should hear of it first."""
    undecided = run.config()["eval"].get("choose")
    if undecided and not choice_of(run):
        return [
            f"{run.path} has not been tested yet, so eval.choose has not decided {', '.join(undecided)}: algo is taken "
            f"as it is written. `metamtl resume {run.path}` finishes the run."
        ]
    return []


def inputs_of(run: RunFolder) -> dict[str, Any]:
    """The record of the run's inputs, from its result; the data itself is opened where it has none yet."""
    recorded = _result(run).get("inputs")
    return dict(recorded) if recorded else describe_inputs(open_source(run.config()))


def origin_of(run: RunFolder) -> dict[str, Any]:
    """The run's id, command, versions and figures."""
    meta, config, result = run.meta(), run.config(), _result(run)
    sidecar = run.checkpoints / "best.json"
    found = read_json(sidecar) if sidecar.exists() else {}
    return {
        "run": meta["id"],
        "command": list(meta["command"]),
        "versions": dict(meta["versions"]),
        "git": meta["git"],
        "seed": config["seed"],
        "weights": {key: found.get(key) for key in ("step", "sha256")},
        "choice": choice_of(run),
        "data_options": {key: value for key, value in config["data"].items() if not _is_place(value)},
        "data": dict(result.get("data", {})),
        "figures": {key: result[key] for key in FIGURES if key in result},
    }


def _result(run: RunFolder) -> Mapping[str, Any]:
    """The run's result; empty where it has not been tested yet."""
    return read_result(run) if run.result_file.exists() else {}


def _is_place(value: object) -> bool:
    return isinstance(value, str) and ("/" in value or "\\" in value)
