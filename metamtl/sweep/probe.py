"""Builds the first trial once, in a process of its own: what cannot be trained is refused before a sweep begins."""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from metamtl.errors import MetamtlError, UsageError
from metamtl.failures import sentence


def probe(config: Mapping[str, Any], sweep: Connection) -> None:
    """Sends (metric, whether more is better, all figures of a validation), or the error that says why not."""
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
    from metamtl.build import build_parts
    from metamtl.data.opening import open_source
    from metamtl.engine.world import join_world
    from metamtl.evaluation.protocol import evaluate_episodes

    parts = build_parts(config, open_source(config))
    with join_world() as world:
        figures = evaluate_episodes(parts, world, "val", 2)
    return parts.family.metric, parts.family.higher_is_better, list(figures)
