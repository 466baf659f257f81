"""The sources of a transfer: finished runs, checkpoints or knowledge of their own, opened only as far as needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metamtl.backbones.inputs import blank_inputs
from metamtl.build import Parts
from metamtl.config.earlier import completed_run
from metamtl.config.families import family_config
from metamtl.data.examples import ExampleSource
from metamtl.data.source import MinibatchSource
from metamtl.data.task import Examples
from metamtl.engine.terms import Term
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.families import Families, build_families
from metamtl.opening import open_sources
from metamtl.runs import checkpoints
from metamtl.runs.files import sha256_of
from metamtl.runs.folder import RunFolder
from metamtl.trainer.checkpoint import learner_of
from metamtl.trainer.score import score_of
from metamtl.transfer.base import Origin, Trained
from metamtl.transfer.knowledge import Knowledge

KNOWLEDGE = "knowledge.pt"


def take_over(families: Families, world: World, run: RunFolder | None, fresh: bool) -> dict[str, Any]:
    """Brings the sources' knowledge to a run that starts, or that goes on with what it was given; its provenance.

    The run keeps the knowledge in its folder: it goes on and is carried further without its source.
    """
    transfer = families.first.transfer
    if not transfer.strategies:
        return {}
    file = run.path / KNOWLEDGE if run is not None else None
    record: dict[str, Any] | None = None
    if file is not None:
        if fresh:
            extracted = transfer.extract([open_origin(Path(path)) for path in transfer.sources], score_of(families))
            extracted.save(file)
        record = asdict(Knowledge.load(file))
    knowledge = Knowledge(**world.from_first(record))
    for parts in families.each.values():
        if fresh and transfer.sources:
            parts.transfer.start(parts.learner.network, knowledge)
        if fresh:
            parts.transfer.meet(parts.learner.network, partial(_drawn, parts))
        parts.transfer.remember(parts.learner.network, dict(parts.learner.terms.items()), knowledge)
        parts.learner.to(parts.device, parts.preparation.dtype)  # a teacher is built where it is needed
        if fresh:
            _refuse_unread(parts)
    return knowledge.provenance


def _refuse_unread(parts: Parts) -> None:
    """UsageError where a teacher, of another backbone or data, cannot read the target's examples."""
    shape = tuple(parts.source.input_shape)
    inputs = parts.preparation.every_input(blank_inputs(parts.learner.network.backbone, 2, shape).numpy())
    for name, term in parts.learner.terms.items():
        assert isinstance(term, Term) and isinstance(inputs, Tensor)
        try:
            with torch.no_grad():
                term.compared(parts.learner.network, inputs)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError) as error:  # of a layer that is given another shape or type
            raise UsageError(
                f"transfer={name}: the source, as a teacher, has to read the target's examples, and cannot read those "
                f"of shape {list(shape)}: give both data of one kind and size."
            ) from error


def open_origin(path: Path) -> Origin:
    """A source from its path: a run's folder, one of its checkpoints, or knowledge; UsageError where it is none."""
    if path.is_dir() and (path / "config.yaml").is_file():
        run = RunFolder.open(path)
        if not (run.checkpoints / "best.pt").exists():
            raise UsageError(f"transfer.source={path} has no best.pt yet: it has not reached its first validation.")
        return _of_run(run, checkpoints.load(run.checkpoints, "best").payload)
    if path.is_file() and path.parent.name == "checkpoints":
        return _of_run(RunFolder.open(path.parents[1]), path.read_bytes())
    if path.is_file():
        return _of_knowledge(path)
    raise UsageError(f"transfer.source={path} is no run: name a folder under outputs/, a checkpoint or a knowledge.pt.")


def _of_run(run: RunFolder, payload: bytes) -> Origin:
    config, name = completed_run(run.config()), None
    parameters = learner_of(payload)
    if config["families"]:
        name = next(iter(config["families"]))
        parameters = _below(parameters, f"families.{name}.")
        config = family_config(config, name)
    own = run.path / KNOWLEDGE
    return Origin(
        _below(parameters, "network."),
        dict(config["backbone"]),
        {
            "run": run.path.name,
            "sha256": sha256_of(payload),
            "algo": config["algo"]["name"],
            "data": config["data"]["name"],
            "fingerprint": run.meta().get("data"),
            **({"family": name} if name else {}),
        },
        lambda: _trained(run, parameters, name),
        Knowledge.load(own) if own.is_file() else None,
        _below(parameters, "terms."),
    )


def _of_knowledge(path: Path) -> Origin:
    knowledge = Knowledge.load(path)

    def refused() -> Trained:
        raise UsageError(f"transfer.source={path} holds no examples: name the run that it comes from.")

    backbone = knowledge.teacher.get("backbone", {})
    return Origin(knowledge.parameters, backbone, {**knowledge.provenance, "run": path.name}, refused, knowledge)


def _trained(run: RunFolder, parameters: Mapping[str, Tensor], name: str | None) -> Trained:
    """The source as it was trained, on the CPU, with its data."""
    config = completed_run(run.config())
    config = {**config, "trainer": {**config["trainer"], "device": "cpu"}}
    with torch.random.fork_rng(devices=[]):
        families = build_families(config, open_sources(config))
    parts = families.first if name is None else families.each[name]
    parts.learner.load_state_dict(parameters)
    parts.learner.eval()
    shape = tuple(parts.source.input_shape)
    return Trained(parts.learner.network, parts.family, shape, partial(_drawn, parts), partial(_supports, parts))


def _drawn(parts: Parts, count: int) -> Examples:
    source = parts.source
    if not isinstance(source, MinibatchSource):
        raise UsageError(f"transfer.source: {source.name} makes tasks and has no examples of its own to draw.")
    items, labels = source.minibatch("train", min(count, len(source.items("train"))), 0, key=0)
    prepare = parts.preparation
    return Examples(prepare.every_input(source.gather(items)), prepare.targets(labels), parts.family.classes or None)


def _supports(parts: Parts, count: int) -> list[Examples]:
    if isinstance(parts.source, ExampleSource):
        return []
    arrays = parts.source.episodes("train", parts.train_shape, np.arange(count), key=0)
    batches = [parts.preparation.batch(group) for group in arrays]
    return [batch.task(index).support for batch in batches for index in range(len(batch))]


def _below(parameters: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in parameters.items() if name.startswith(prefix)}
