"""Choices that are made at test time and not learnt (inner steps and rate, temperature), made on validation.

`eval.choose` maps keys of `algo` to candidate values. Every combination meets the same validation episodes with the
weights that training left; the best is tested, and all of them are recorded.
"""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from metamtl.build import Parts, build_learner
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.evaluation.protocol import evaluate_episodes
from metamtl.runs.result import summary
from metamtl.transfer.group import build_transfer

_logger = logging.getLogger(__name__)


def chosen(parts: Parts, world: World) -> tuple[Parts, list[dict[str, Any]]]:
    """The objects to be tested, and what each combination gave on validation, the best first; [] without candidates.

    Of equal ones the first written wins.
    """
    candidates: Mapping[str, list[Any]] = parts.config["eval"]["choose"]
    if not candidates:
        return parts, []
    metric, sign = parts.family.metric, -1 if parts.family.higher_is_better else 1
    tried: list[tuple[Parts, dict[str, Any]]] = []
    losses: list[tuple[dict[str, Any], bytes]] = []
    for values in itertools.product(*candidates.values()):
        options = dict(zip(candidates, values, strict=True))
        one = with_options(parts, options)
        figures = evaluate_episodes(one, world, "val", parts.config["eval"]["val_episodes"])
        tried.append((one, {"options": options, f"val/{metric}": summary(figures[metric])}))
        losses.append((options, figures["loss"].tobytes()))
    for key in without_effect(candidates, losses):
        _logger.warning(
            "eval.choose.%s: all its values give the same outputs, so none was chosen: a value that training starts "
            "from is not read again at test.",
            key,
        )
    tried.sort(key=lambda pair: sign * pair[1][f"val/{metric}"]["mean"])
    return tried[0][0], [choice for _, choice in tried]


def refuse_other_weights(parts: Parts) -> None:
    """UsageError where a candidate would change what is learnt: before training, which its test would come after."""
    config = parts.config
    candidates: Mapping[str, list[Any]] = config["eval"]["choose"]
    if not candidates:
        return
    # strategies of their own: those of the run know the learner that is trained
    other = replace(parts, transfer=build_transfer(None if config.get("sequence") else config.get("transfer")))
    # a value at a time: each builds a learner, and what two keys change together one of them changes alone
    alone = [{key: value} for key, values in candidates.items() for value in values if value != config["algo"][key]]
    with torch.random.fork_rng(devices=[]):  # what is built here draws weights
        for options in alone:
            with_options(other, options)


def without_effect(candidates: Mapping[str, list[Any]], losses: Sequence[tuple[dict[str, Any], bytes]]) -> list[str]:
    """The keys of several values none of which changes a loss, whatever the other keys are."""
    found = []
    for key, values in candidates.items():
        beside: dict[str, set[bytes]] = {}
        for options, loss in losses:
            beside.setdefault(str({name: value for name, value in options.items() if name != key}), set()).add(loss)
        if len(values) > 1 and all(len(alike) == 1 for alike in beside.values()):
            found.append(key)
    return found


def with_options(parts: Parts, options: Mapping[str, Any]) -> Parts:
    """The same weights in a learner with other options; UsageError where these change what is learnt."""
    config = {**parts.config, "algo": {**parts.config["algo"], **options}}
    learner = build_learner(config, parts.family, parts.source, parts.transfer)
    learner = learner.to(parts.device, parts.preparation.dtype)
    try:
        learner.load_state_dict(parts.learner.state_dict())
    except RuntimeError as error:
        named = ", ".join(f"{key}={value}" for key, value in options.items())
        raise UsageError(
            f"eval.choose: with {named} other weights are learnt; train a run for each instead."
        ) from error
    learner.network.transductive = parts.learner.network.transductive
    engine = copy.copy(parts.engine)
    engine.learner, engine.network = learner, learner.network
    return replace(parts, config=config, learner=learner, engine=engine)
