"""Whether transfer helped: the same run from scratch, with the source alone, and untrained, on identical test examples.

The transfer ratio is the metric with transfer over that from scratch at an equal budget of the target's labels, and the
negative-transfer gap the mean paired difference where it is a loss (Wang, Dai, Poczos & Carbonell 2019, Characterizing
and Avoiding Negative Transfer, CVPR, equation 3). `budgets` are numbers of training labels (`data.labels`) at which
both are trained again, their weights selected on as many validation labels unless `data.val_labels` says another
number: the curve of labels that an accuracy takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metamtl.errors import MetamtlError
from metamtl.runs import checkpoints
from metamtl.runs.files import write_json
from metamtl.runs.folder import RunFolder
from metamtl.runs.label_plots import plot_labels
from metamtl.runs.metric_names import lower_is_better
from metamtl.runs.result import Summary, read_episodes, read_result, share, summary
from metamtl.runs.units import readable
from metamtl.trainer.references import Finished, Resume, Train, loss_of

NONE = {"name": "none"}
KINDS = ("transfer", "scratch")


def add_gains(run: RunFolder, config: Mapping[str, Any], train: Train, resume: Resume) -> str:
    """Trains or finds the references, writes `references` into the run's result; a line for a person."""
    trained = Finished(config, train, resume)
    scratch = trained.run({**config, "transfer": NONE}, "scratch", "from scratch, for reference")
    record = gain(run, scratch)
    untrained = {**config, "trainer": _without_steps(config["trainer"])}
    alone, record["source_only_note"] = _source_alone(run, config)
    for name, section in (("source_only", alone), ("random_init", NONE)):
        record[name] = None
        if section is not None:
            found = trained.run({**untrained, "transfer": section}, name, f"{name.replace('_', ' ')}, for reference")
            record[name] = read_result(found)["test"][record["metric"]]
    record["domain_gap"] = _domain_gap(config["transfer"].get("source"), record)
    record["step_ms"] = {
        which: read_result(one)["train"].get("step_ms") for which, one in zip(KINDS, (run, scratch), strict=True)
    }
    if config["budgets"]:
        record["labels"] = _budgets(config, trained, (run, scratch), record["metric"])
        plot_labels(run, record["labels"]["curve"], record["metric"])
    result = read_result(run)
    result["references"] = record
    write_json(run.result_file, result)
    return _said(record)


def gain(run: RunFolder, scratch: RunFolder) -> dict[str, Any]:
    """The run's test figures against those from scratch; MetamtlError where they met other test examples."""
    own, other = read_result(run), read_result(scratch)
    if own["episodes_id"] != other["episodes_id"]:
        raise MetamtlError(f"{scratch.path} was tested on other episodes than {run.path}: test it again.")
    metric = next(key for key in own["best"] if key != "step").removeprefix("val/")
    pairs = read_episodes(run)[metric] - read_episodes(scratch)[metric]
    pairs = -pairs if lower_is_better(metric) else pairs
    difference = summary(pairs[~np.isnan(pairs)])
    with_source, without = own["test"][metric]["mean"], other["test"][metric]["mean"]
    return {
        "metric": metric,
        "run": scratch.path.name,
        "transfer": own["test"][metric],
        "scratch": other["test"][metric],
        "improvement": difference,
        "transfer_ratio": with_source / without if without else None,
        "negative_transfer": {
            **loss_of(difference["mean"], difference["ci95"]),
            **share(pairs[~np.isnan(pairs)] < 0),  # of the test's tasks, or examples
        },
    }


def _domain_gap(source: Any, record: Mapping[str, Any]) -> Summary | None:
    """What the source's figure on its own test examples is above that of the source alone on the target's.

    None where no one run is the source, or it has no such figure of its own.
    """
    paths = [source] if isinstance(source, str) else list(source or [])
    there = record["source_only"]
    if there is None or len(paths) != 1 or not (Path(paths[0]) / "result.json").is_file():
        return None
    here = read_result(RunFolder.open(Path(paths[0]))).get("test", {}).get(record["metric"])
    if here is None:
        return None
    sign = -1 if lower_is_better(record["metric"]) else 1
    gap = sign * (here["mean"] - there["mean"])
    return {"mean": gap, "ci95": math.hypot(here["ci95"], there["ci95"]), "episodes": there["episodes"]}


def labels_to_reach(curve: Sequence[Mapping[str, Any]], wanted: float, which: str, lower: bool) -> int | None:
    """The fewest labels at which `transfer` or `scratch` reaches a figure; None where it never does."""
    reached = [
        point["labels"]
        for point in curve
        if (point[which]["mean"] <= wanted if lower else point[which]["mean"] >= wanted)
    ]
    return min(reached, default=None)


def _budgets(
    config: Mapping[str, Any], trained: Finished, here: tuple[RunFolder, RunFolder], metric: str
) -> dict[str, Any]:
    """Both curves, and how many labels each takes to what learning from scratch reaches with the most of them."""
    curve = []
    for labels in sorted(config["budgets"]):
        fewer = {**config, "data": {**config["data"], "labels": labels}}
        point: dict[str, Any] = {"labels": labels}
        for which, own, section in zip(KINDS, here, (config["transfer"], NONE), strict=True):
            found = own
            if labels != config["data"]["labels"]:
                title = f"{which} with {labels} labels, for reference"
                found = trained.run({**fewer, "transfer": section}, f"{which}-{labels}", title)
            result = read_result(found)
            point[which], point["val_labels"] = result["test"][metric], result["data"]["examples"]["val"]
        curve.append(point)
    wanted, lower = curve[-1]["scratch"]["mean"], lower_is_better(metric)
    reach = {which: labels_to_reach(curve, wanted, which, lower) for which in KINDS}
    return {"curve": curve, "reach": {"figure": wanted, **reach}}


def _without_steps(trainer: Mapping[str, Any]) -> dict[str, Any]:
    stages = {name: {**own, "steps": 0} for name, own in trainer["stages"].items()}
    return {**trainer, "steps": 0, "stages": stages}


def _source_alone(run: RunFolder, config: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The section `transfer` that carries everything that fits, and a note on whose head predicts.

    None where nothing of the source predicts: several sources are no one network, and over a head that the target drew
    at random, which is never adapted, the figure would say nothing of the source.
    """
    from metamtl.trainer.checkpoint import learner_of
    from metamtl.trainer.source import KNOWLEDGE
    from metamtl.transfer.knowledge import Knowledge

    own = learner_of(checkpoints.load(run.checkpoints, "best").payload)
    heads = {name.removeprefix("network."): t.shape for name, t in own.items() if name.startswith("network.head.")}
    theirs = {name: tensor.shape for name, tensor in Knowledge.load(run.path / KNOWLEDGE).parameters.items()}
    fits = bool(heads) and all(theirs.get(name) == shape for name, shape in heads.items())
    source, labelled = config["transfer"]["source"], read_result(run)["inputs"]["labelled"]
    if not isinstance(source, str) and len(source) > 1:
        return None, "several sources are no one network"
    if heads and labelled and not fits:
        return None, "the source has no head for the target's outputs"
    note = "by features alone"
    if heads:
        note = "with the source's head" if fits else "with a head that adapts from values drawn at random"
    carried = {"name": "finetune", "backbone_rate": 1.0, "head": fits}
    added = {name: options for name, options in config["transfer"].items() if name == "film"}
    return {"source": source, "finetune": carried, **added}, note


def _said(record: Mapping[str, Any]) -> str:
    difference, ratio = record["improvement"], record["transfer_ratio"]
    metric = record["metric"]
    gain = readable(metric, difference["mean"], difference["ci95"], sign=True)
    said = f"against from scratch {gain} {metric} (better is +)"
    said += f", transfer ratio {ratio:.3f}" if ratio is not None else ""
    alone = readable(metric, record["source_only"]["mean"]) if record["source_only"] else "none"
    said += f"; source only {alone} ({record['source_only_note']})"
    said += f", untrained {readable(metric, record['random_init']['mean'])}"
    if "labels" in record:
        reach = record["labels"]["reach"]
        counts = {which: "never" if reach[which] is None else reach[which] for which in KINDS}
        held = ", ".join(str(point["val_labels"]) for point in record["labels"]["curve"])
        said += (
            f"; labels to reach {readable(metric, reach['figure'])}: {counts['transfer']} with transfer, "
            f"{counts['scratch']} without (weights selected on {held} validation labels)"
        )
    return said
