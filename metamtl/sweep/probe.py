"""Builds the first trial once, in a process of its own: what cannot be trained is refused before a sweep begins."""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from metamtl.errors import MetamtlError, UsageError
from metamtl.failures import sentence
from metamtl.registry import use_folder


def probe(trial: tuple[Mapping[str, Any], str | None], sweep: Connection) -> None:
    """Sends (metric, whether more is better, all figures of a validation), or the error that says why not.

    `trial`: its config, and the folder of the user's own options.
    """
    config, config_dir = trial
    if config_dir is not None:
        use_folder(Path(config_dir).expanduser())
    try:
        sweep.send(_figures(config))
    except MetamtlError as error:
        sweep.send(error)
    except Exception as error:
        sweep.send(MetamtlError(sentence(error)))


def decide(options: Mapping[str, Any], own: str, own_higher: bool, figures: list[str]) -> tuple[str, bool]:
    """The figure that decides and whether more is better; UsageError where `sweep.metric` is none of validation's."""
    asked = (options["metric"] or own).removeprefix("val/")
    if asked not in figures:
        never = " Test figures never decide." if asked.startswith("test") else ""
        raise UsageError(f"sweep.metric={asked}: validation measures {', '.join(figures)}.{never}")
    known = {"loss": False, own: own_higher}
    if options["direction"] != "auto":
        return asked, options["direction"] == "maximize"
    if asked not in known:
        raise UsageError(f"sweep.metric={asked}: say where it is better, sweep.direction=minimize or maximize.")
    return asked, known[asked]


def _figures(config: Mapping[str, Any]) -> tuple[str, bool, list[str]]:
    from metamtl.engine.world import join_world
    from metamtl.families import build_families
    from metamtl.opening import open_sources
    from metamtl.trainer.validation import validate

    short = {**config, "eval": {**config["eval"], "val_episodes": 2}}
    families = build_families(short, open_sources(short))
    with join_world() as world:
        found = validate(families, world, {})
    figures = [name.removeprefix("val/") for name in found.values if not name.endswith("_ci95")]
    selected = families.first.family.metric if families.weighting is None else "score"
    return selected, found.higher_is_better, figures
