"""`transfer=auto`: which source and which strategy, before the run.

The sources are ranked by transferability on the target's labelled training examples; the best ones meet every
candidate in a short ordinary run, and the best of these on the target's validation is taken. Test is not looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from metamtl.config.library import Library
from metamtl.data.batch import Preparation
from metamtl.data.classes import ClassSource
from metamtl.data.examples import ExampleSource
from metamtl.data.family import Classification
from metamtl.data.source import Source
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.metric_names import lower_is_better
from metamtl.runs.result import read_result
from metamtl.runs.units import readable
from metamtl.trainer.references import Finished, Resume, Train
from metamtl.trainer.source import open_origin
from metamtl.transfer.base import Trained
from metamtl.transfer.transferability import h_score, leep, logme


def chosen(config: dict[str, Any], target: Source, train: Train, resume: Resume) -> dict[str, Any]:
    """The config with the chosen source and strategy, and the record of the choice under `transfer.auto.choice`."""
    options = config["transfer"]["auto"]
    given = config["transfer"]["source"]
    paths = [given] if isinstance(given, str) else list(given or [])
    if not paths:
        raise UsageError("transfer=auto needs sources: transfer.source=[outputs/RUN1,outputs/RUN2].")
    if not isinstance(target, ClassSource | ExampleSource) or target.kind != "classification":
        raise UsageError(f"transfer=auto ranks sources by labels of classes; {target.name} has none.")
    scores = {path: measures(Path(path), target, options["examples"]) for path in paths}
    able = [path for path in paths if options["measure"] in scores[path]]
    if not able:
        said = "; ".join(f"{Path(path).name}: {scores[path].get('refused', 'no score')}" for path in paths)
        raise UsageError(f"transfer.auto.measure={options['measure']} ranks none of the sources ({said}).")
    ranked = sorted(able, key=lambda path: -scores[path][options["measure"]])
    trials, refused = _trials(config, ranked[: options["keep"]], Finished(config, train, resume))
    if not trials:
        said = "; ".join(f"{one['strategy']} from {Path(one['source']).name}: {one['refused']}" for one in refused)
        raise UsageError(f"transfer=auto: none of the candidates could be tried ({said}).")
    best = trials[0]
    figure = readable(best["metric"], best["validation"])
    why = (
        f"{best['strategy']} from {Path(best['source']).name}: best of {len(trials)} trials of "
        f"{options['trial_steps']} steps on validation ({best['metric']} {figure}), among the "
        f"{min(options['keep'], len(ranked))} sources ranked highest by {options['measure']} of {len(paths)}"
    )
    print(f"transfer=auto takes {why}", flush=True)
    choice = {"why": why, "measure": options["measure"], "scores": scores, "trials": trials, "refused": refused}
    section = _section(best["strategy"])
    return {**config, "transfer": {"source": best["source"], **section, "auto": {**options, "choice": choice}}}


def measures(path: Path, target: ClassSource | ExampleSource, count: int) -> dict[str, Any]:
    """LEEP, LogME and H-score of a source on `count` training examples of the target, or why it is `refused`."""
    try:
        return _measured(open_origin(path).trained(), target, count)
    except MetamtlError as error:  # no run, without a checkpoint, its data gone: the others may suit
        return {"refused": str(error)}
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, IndexError) as error:  # of a layer that is given another shape or type
        return {"refused": f"it cannot read the target's examples ({' '.join(str(error).split())[:120]})"}


def _measured(trained: Trained, target: ClassSource | ExampleSource, count: int) -> dict[str, Any]:
    if tuple(trained.input_shape) != tuple(target.input_shape):
        return {"refused": f"inputs are {list(trained.input_shape)} and not {list(target.input_shape)}"}
    items, labels = target.minibatch("train", min(count, len(target.items("train"))), 0, key=0)
    like = next(trained.network.parameters())
    prepare = Preparation(target.preprocessing, like.device, like.dtype)
    y = prepare.targets(labels)
    with torch.no_grad():
        x = prepare.every_input(target.gather(items[labels >= 0]))
        features = trained.network.query(x, head=False)
        found = {"logme": logme(features, y[y >= 0]), "h_score": h_score(features, y[y >= 0])}
        if trained.network.head is not None and isinstance(trained.family, Classification):
            found["leep"] = leep(trained.network.query(x).softmax(1), y[y >= 0])
    return found


def _trials(
    config: dict[str, Any], paths: list[str], trained: Finished
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every candidate from every source, the best first; and those that could not be tried, with the reason."""
    options = config["transfer"]["auto"]
    most, trainer = options["trial_steps"], config["trainer"]
    stages = {name: {**own, "steps": min(own.get("steps", most), most)} for name, own in trainer["stages"].items()}
    short = {**config, "trainer": {**trainer, "steps": most, "validate_every": most, "stages": stages}}
    trials, refused = [], []
    sections = {name: _section(name) for name in options["candidates"]}
    for path in paths:
        for name, section in sections.items():
            own = {**short, "transfer": {"source": path, **section}}
            try:
                run = trained.run(own, f"trial-{name}-{Path(path).name}", f"a trial of {name} from {Path(path).name}")
            except MetamtlError as error:  # it does not fit this source, or diverged: others may do
                print(f"refused: {error}", flush=True)
                refused.append({"source": path, "strategy": name, "refused": str(error)})
                continue
            metric, value = next((key, v) for key, v in read_result(run)["best"].items() if key != "step")
            trials.append(
                {"source": path, "strategy": name, "metric": metric, "validation": value, "run": run.path.name}
            )
    lower = bool(trials) and lower_is_better(trials[0]["metric"].removeprefix("val/"))
    return sorted(trials, key=lambda trial: trial["validation"] if lower else -trial["validation"]), refused


def _section(name: str) -> dict[str, Any]:
    """A strategy's own keys with their defaults."""
    option = Library.load().groups["transfer"].get(name)
    if option is None or name in ("none", "auto") or name not in option.raw:
        raise UsageError(f"transfer.auto.candidates: there is no strategy {name}; `metamtl list transfer` shows them.")
    if "source" not in option.raw:
        raise UsageError(f"transfer.auto.candidates: {name} learns from no source: leave it out.")
    return {name: dict(option.raw[name])}
