"""MODEL_CARD.md of exported programs (Mitchell et al. 2019, Model Cards for Model Reporting, FAccT): what was measured,
on what, how, and what none of it says.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metamtl.deploy.predictor import Predictor
from metamtl.runs.result import Summary
from metamtl.runs.units import readable


@dataclass(frozen=True)
class Agreement:
    """The largest difference between each form of a program (by its file's suffix) and the live model."""

    program: str
    outputs: list[str]
    differences: dict[str, float]


def model_card(
    origin: Mapping[str, Any],
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    agreements: Sequence[Agreement],
    predictor: Predictor[Any] | None,
) -> str:
    """The card, in Markdown."""
    sections = [
        [f"# Model card: {origin['run']}", _summary(settings, predictor, inputs)],
        ["## Training", *_training(origin, settings)],
        ["## Data", *_data(origin)],
        ["## Measured", *_figures(origin)],
        ["## Adapted to", *_adapted(origin, predictor)] if "support" in origin else [],
        ["## Input", *_input(inputs, predictor)],
        ["## Programs", *_programs(agreements)],
        ["## Limits", *_limits(origin, inputs, settings, predictor)],
    ]
    return "\n\n".join("\n".join([lines[0], "", *lines[1:]]) for lines in sections if lines) + "\n"


def _summary(settings: Mapping[str, Any], predictor: Predictor[Any] | None, inputs: Mapping[str, Any]) -> str:
    what = f"a classifier of {len(predictor.classes)} classes" if predictor else "an embedding"
    if inputs["kind"] == "regression":
        what = "a function fitted to a few points"
    return f"{what.capitalize()}, by {settings['algo']['name']} on {settings['backbone']['name']}, few-shot adapted."


def _training(origin: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    versions, git = origin["versions"], origin["git"]
    commit = f", commit {git['commit'][:12]}{' with changes' if git['dirty'] else ''}" if git else ""
    weights = origin["weights"]
    return [
        f"- Command: `{shlex.join(origin['command'])}`",
        f"- Seed {origin['seed']}; {settings['trainer']['steps']} updates; weights of step {weights['step']}, "
        "chosen on validation classes",
        f"- metamtl {versions.get('metamtl')}, torch {versions.get('torch')}{commit}",
        f"- {settings['algo']['name']}: {_options(settings['algo'])}",
        f"- {settings['backbone']['name']}: {_options(settings['backbone'])}",
    ]


def _data(origin: Mapping[str, Any]) -> list[str]:
    data = origin["data"]
    if not data:
        return ["- Not recorded: the run was not tested before it was exported."]
    counts, listed = data.get("classes"), data.get("classes_listed")
    lines = [f"- {data['name']}, split: {data.get('split', data.get('splits', 'not named'))}"]
    if counts:
        of = f" (of {_counts(listed)} listed)" if listed and listed != counts else ""
        lines.append(f"- Classes: {_counts(counts)}{of}")
    if without := data.get("without"):
        lines.append(f"- Left out: {', '.join(without)}")
    lines.append(f"- Licence of the data: {data.get('licence', 'not recorded; ask its source')}")
    return [*lines, f"- Fingerprint: {data['fingerprint']}"]


def _figures(origin: Mapping[str, Any]) -> list[str]:
    figures = origin["figures"]
    if "test" not in figures:
        return ["- Nothing: the run was not tested before it was exported."]
    task = ", ".join(f"{name} {value}" for name, value in figures["task"].items())
    lines = [f"- Held-out tasks of the {figures['split']} split ({task}); episodes {figures['episodes_id']}"]
    lines += [f"- {name}: {_interval(name, summary)}" for name, summary in figures["test"].items()]
    if seen := figures.get("meta_train"):
        lines += [
            f"- {name} on meta-train classes: {_interval(name, one)}" for name, one in seen.items() if name != "loss"
        ]
    lines.append(f"- Normalisation: {figures['normalisation']}; transduction: {figures['transduction']}")
    return [*lines, "- One seed; the intervals are 95% over episodes and say nothing of other seeds."]


def _interval(metric: str, summary: Summary) -> str:
    return f"{readable(metric, summary['mean'], summary['ci95'])} over {summary['episodes']} episodes"


def _adapted(origin: Mapping[str, Any], predictor: Predictor[Any] | None) -> list[str]:
    support = origin["support"]
    lines = [f"- {support['examples']} examples (sha256 {support['sha256'][:16]})"]
    if predictor is None:
        return lines
    counts = zip(predictor.classes, support["per_class"], strict=True)
    lines.append(f"- Classes: {', '.join(f'{name} ({count})' for name, count in counts)}")
    limit = predictor.threshold
    lines.append(f"- Unknown below score {limit.value:.6g}: {limit.how}")
    if limit.accuracy is not None:
        lines.append(f"- {limit.accuracy:.1%} of {limit.held_out} support examples were recognised while held out")
    return lines


def _input(inputs: Mapping[str, Any], predictor: Predictor[Any] | None) -> list[str]:
    preprocessing, shape = inputs["preprocessing"], inputs["shape"]
    if "size" not in preprocessing:
        return [f"- x: float32 [N, {', '.join(map(str, shape))}], as the data has it"]
    background = inputs["background"]
    lines = [
        f"- x: uint8 [N, {', '.join(map(str, shape))}], {preprocessing['channels']}; scaling is inside the program",
        f"- Before: to {preprocessing['channels']}, transparent parts white, resized to {preprocessing['size']} pixels "
        "a side (bilinear, antialiased, sides scaled independently)",
    ]
    if background in ("dark", "light"):
        lines.append(f"- The background must be {background}: invert (255 - x) pictures on the opposite one")
    return lines


def _programs(agreements: Sequence[Agreement]) -> list[str]:
    lines = ["| file | outputs | largest difference from the live model |", "|---|---|---|"]
    for one in agreements:
        lines += [
            f"| {one.program}{end} | {', '.join(one.outputs)} | {value:.2g} |" for end, value in one.differences.items()
        ]
    return [
        *lines,
        "",
        "Differences are relative to the larger of 1 and the value, on new inputs in batches of 1 to 33.",
    ]


def _limits(
    origin: Mapping[str, Any], inputs: Mapping[str, Any], settings: Mapping[str, Any], predictor: Predictor[Any] | None
) -> list[str]:
    lines = ["- The figures are those of tasks from the run's own data, not of the classes or pictures it is used on."]
    if predictor is not None:
        lines.append(
            "- Probabilities are a softmax over these classes and are not calibrated; unknown is judged by score."
        )
    if settings["backbone"]["norm"] == "batch":
        lines.append(
            "- Each example is predicted alone: batch normalisation takes the support set's statistics"
            + (
                ", whereas the figures above let the queries of a task be normalised together; expect them to differ."
                if origin["figures"].get("transduction", "").startswith("transductive")
                else "."
            )
        )
    if "size" in inputs["preprocessing"]:
        lines.append("- Pictures that are framed or drawn otherwise than the run's data will be recognised less well.")
    return [*lines, "- No test for bias, robustness or safety was made; do not let it decide about people."]


def _options(section: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in section.items() if key != "name") or "no options"


def _counts(classes: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {count}" for split, count in classes.items())
