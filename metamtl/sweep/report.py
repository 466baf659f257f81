"""What a sweep found: sweep.json, a table in the terminal, and figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamtl.errors import MetamtlError
from metamtl.runs.files import read_json, write_json
from metamtl.runs.folder import RunFolder
from metamtl.runs.units import bare, readable, titled
from metamtl.sweep.plots import plot_history, plot_importance
from metamtl.sweep.request import Request
from metamtl.sweep.study import Ledger

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FILE = "sweep.json"
_ENDS = ("complete", "pruned", "diverged", "failed")
_SHOWN = 10  # rows of the table
_FEWEST = 4  # trials with which an importance says anything


def values_of(request: Request, trial: FrozenTrial) -> list[str]:
    """The trial's values as overrides."""
    dimensions = request.dimensions
    return [f"{key}={dimensions[key].text(value)}" for key, value in trial.params.items()]


def best(request: Request, ledger: Ledger) -> list[FrozenTrial]:
    """The winners: of the complete trials the best `sweep.winners`, the earlier of equals first."""
    return ranked(request, ledger)[: request.options["winners"]]


def ranked(request: Request, ledger: Ledger) -> list[FrozenTrial]:
    """The complete trials, the best first; those that diverged are none of them."""
    sign = -1.0 if request.higher_is_better else 1.0
    complete = [trial for trial in ledger.counted() if _state(trial) == "complete"]
    return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def line(request: Request, ledger: Ledger, number: int) -> str:
    """One line about a trial that has just stopped."""
    trial = ledger.trials()[number]
    said = trial.user_attrs.get("reason", "")
    if trial.value is not None and not said:
        said = f"val/{request.metric} {readable(request.metric, trial.value)}"
    if not trial.state.is_finished():
        said = "its process stopped; it will go on from its last checkpoint"
    leader = ranked(request, ledger)[:1]
    lead = f"  (best: trial {leader[0].number}, {readable(request.metric, leader[0].value or 0.0)})" if leader else ""
    return f"trial {number} {_state(trial)}: {said}  {' '.join(values_of(request, trial))}{lead}"


def write(request: Request, folder: Path, ledger: Ledger) -> dict[str, Any]:
    """Replaces sweep.json by what is known now, and returns it."""
    counted = {trial.number for trial in ledger.counted()}
    trials = [
        _record(request, folder, trial)
        for trial in ledger.trials()
        if trial.state.is_finished() or trial.number in counted
    ]
    leader = ranked(request, ledger)[:1]
    content = {
        "id": folder.name,
        "metric": f"val/{request.metric}",
        "direction": "maximize" if request.higher_is_better else "minimize",
        "space": request.space,
        "wanted": ledger.wanted(),
        "best": leader[0].number if leader else None,
        "trials": trials,
        "importance": {},  # known at the end
        "winners": [_winner(request, folder, trial) for trial in best(request, ledger)],
    }
    write_json(folder / FILE, content, shared=True)
    return content


def finish(request: Request, folder: Path, ledger: Ledger) -> None:
    """Writes sweep.json and the figures, and prints what came of the sweep."""
    content = {**write(request, folder, ledger), "importance": importance(request, ledger)}
    write_json(folder / FILE, content, shared=True)
    plot_history(content, folder / "plots" / "history.png")
    if content["importance"]:
        plot_importance(content["importance"], folder / "plots" / "importance.png")
    _print(request, folder, ledger, content)


def counts(content: Mapping[str, Any]) -> str:
    """How many trials ended in which way, for a person; `content` is that of sweep.json."""
    states = [trial["state"] for trial in content["trials"]]
    return ", ".join(f"{states.count(state)} {state}" for state in _ENDS if state in states)


def importance(request: Request, ledger: Ledger) -> dict[str, float]:
    """The share of each key in how good trials come about, empty where there are too few to tell.

    Watanabe et al. (2023), PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces.
    """
    import warnings

    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    values = {trial.value for trial in ranked(request, ledger)}
    if len(values) < _FEWEST:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the evaluator is called experimental
        found = get_param_importances(ledger.study, evaluator=PedAnovaImportanceEvaluator())
    return {key: float(share) for key, share in found.items()}


def _state(trial: FrozenTrial) -> str:
    if trial.value is not None and not math.isfinite(trial.value):
        return "diverged"
    return {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())


def _record(request: Request, folder: Path, trial: FrozenTrial) -> dict[str, Any]:
    own = folder / str(trial.number)
    return {
        "number": trial.number,
        "state": _state(trial),
        "value": None if _state(trial) == "diverged" else trial.value,
        "params": trial.params,
        "reason": trial.user_attrs.get("reason"),
        "restarts": trial.user_attrs.get("restarts", 0),
        "deaths": trial.user_attrs.get("deaths", []),
        "validations": {str(step): value for step, value in trial.intermediate_values.items()},
        "started": trial.datetime_start.isoformat() if trial.datetime_start else None,
        "ended": trial.datetime_complete.isoformat() if trial.datetime_complete else None,
        "folder": own.name if own.is_dir() else None,
        "overrides": values_of(request, trial),
    }


def _winner(request: Request, folder: Path, trial: FrozenTrial) -> dict[str, Any]:
    """The runs of a winner with other seeds: mean and standard deviation over seeds of each run's mean test figure."""
    runs = [_rerun(request, path) for path in sorted(folder.glob(f"{trial.number}-s*"), key=_seed_of)]
    figures = [run["test"] for run in runs if run["test"] is not None]
    spread = statistics.stdev(figures) if len(figures) > 1 else None
    test = {"mean": statistics.fmean(figures), "sd": spread, "runs": len(figures)} if figures else None
    return {"number": trial.number, "metric": f"test/{request.metric}", "test": test, "runs": runs}


def _rerun(request: Request, path: Path) -> dict[str, Any]:
    try:
        run = RunFolder.open(path)
        status = run.meta()["status"]
        tested = read_json(run.result_file)["test"][request.metric]["mean"] if status == "completed" else None
    except MetamtlError as error:
        status, tested = str(error), None
    return {"folder": path.name, "seed": _seed_of(path), "status": status, "test": tested}


def _seed_of(path: Path) -> int:
    return int(path.name.rpartition("-s")[2])


def _print(request: Request, folder: Path, ledger: Ledger, content: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    keys = list(request.space)
    table = Table(box=None)
    for heading in ("trial", titled(f"val/{request.metric}"), *keys):
        table.add_column(Text(heading, "bold"), justify="right" if heading not in keys else "left")
    for trial in ranked(request, ledger)[:_SHOWN]:
        dimensions = request.dimensions
        values = [_short(trial.params[key], dimensions[key].text(trial.params[key])) for key in keys]
        table.add_row(*map(Text, (str(trial.number), bare(request.metric, trial.value or 0.0), *values)))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    for winner in content["winners"]:
        if winner["test"]:
            name, test = winner["metric"], winner["test"]
            spread = f" (sd {bare(name, test['sd'])} over seeds)" if test["sd"] is not None else ""
            console.print(
                f"winner {winner['number']}: {name} {readable(name, test['mean'])}{spread}, {test['runs']} runs"
            )
    if content["importance"]:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in content["importance"].items())
        console.print(f"importance: {shares}")
    console.print(f"{folder}: {counts(content)}.")


def _short(value: Any, text: str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else text
