"""From a checked config and its open data to the objects that train and test: one place, used by every verb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from metamtl.algos.base import Learner
from metamtl.data.batch import Preparation
from metamtl.data.family import Family
from metamtl.data.labelled import family_of
from metamtl.data.opening import task_shape, train_shapes
from metamtl.data.source import Source, TaskShape
from metamtl.engine.memory import keep_freed_memory
from metamtl.engine.plan import fuses, usual_plan, workers_of
from metamtl.engine.tasks import Engine
from metamtl.errors import UsageError
from metamtl.registry import build
from metamtl.transfer.group import Transfer, build_transfer


@dataclass
class Parts:
    """What a run is made of."""

    config: Mapping[str, Any]
    source: Source
    family: Family
    learner: Learner
    engine: Engine
    preparation: Preparation
    device: torch.device
    train_shape: TaskShape
    test_shape: TaskShape
    transfer: Transfer

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic of `trainer.precision` while it is entered."""
        if self.config["trainer"]["precision"] == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    @contextmanager
    def testing(self) -> Iterator[None]:
        """While held-out tasks are met: the learner's test phase, with the statistics that `eval` asks for."""
        network, was_training = self.learner.network, self.learner.training
        self.learner.eval()
        network.transductive = self.config["eval"]["transductive"]
        try:
            yield
        finally:
            network.transductive = self.config["trainer"]["transductive"]
            self.learner.train(was_training)


def build_parts(
    config: Mapping[str, Any], source: Source, trained: TaskShape | None = None, backbone: nn.Module | None = None
) -> Parts:
    """All objects, with initial weights that depend on `seed` alone; UsageError for a device or stage that is absent.

    `trained` is the test shape that the learner was made for, where it is now tested on another; `backbone` is one
    that other families share, and the state of torch's generator then settles the other weights.
    """
    keep_freed_memory()
    trainer, seed = config["trainer"], config["seed"]
    device = choose_device(trainer["device"])
    dtype = torch.float64 if trainer["precision"] == "float64" else torch.float32
    train_shape, test_shape = task_shape(trainer["task"]), task_shape(config["task"])
    family = family_of(source, *train_shapes(trainer), trained or test_shape, told=config.get("told"))
    # of a sequence, strategies belong to the stages
    transfer = build_transfer(None if config.get("sequence") else config.get("transfer"))
    if backbone is None:
        torch.manual_seed(seed)
    learner = build_learner(config, family, source, transfer, backbone).to(device, dtype)
    if device.type == "cpu":
        _lay_out(learner)
    _refuse_unknown_stages(config, [stage.name for stage in learner.stages[:-1]])
    _refuse_nothing_to_train(config, learner)
    _refuse_labelled_examples(config, source, learner)
    _refuse_new_tasks(config, source, learner)
    learner.check_tasks(train_shape, test_shape)
    learner.network.transductive = trainer["transductive"]
    how = config["engine"]
    if how == "auto" and trainer["precision"] == "bfloat16":
        how = "loop"  # under vmap, autocast leaves convolutions and linear layers in float32 (torch 2.13, CPU)
    workers = trainer["workers"] or workers_of(device, trainer["threads"])
    plan = usual_plan(how, workers, trainer["memory"], device, trainer["pool"])
    plan = replace(plan, fused=fuses(trainer["fused"], learner, device))
    engine = Engine(learner, learner.network, plan, noise_seed=seed)
    preparation = Preparation(source.preprocessing, device, dtype)
    return Parts(config, source, family, learner, engine, preparation, device, train_shape, test_shape, transfer)


def _lay_out(learner: Learner) -> None:
    """Lays kernels out as the engine's convolutions take them without a copy, the channels last."""
    for weight in (*learner.parameters(), *learner.buffers()):  # buffers: what transfer froze
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def build_learner(
    config: Mapping[str, Any],
    family: Family,
    source: Source,
    transfer: Transfer,
    backbone: nn.Module | None = None,
) -> Learner:
    """The learner over a new backbone, as transfer reshapes it, or over one that families share."""
    if backbone is None:
        backbone = build("backbone", config["backbone"], input_shape=tuple(source.input_shape))
        transfer.reshape(backbone)
    elif changing := [*transfer.reshaping, *transfer.conditioning]:
        raise UsageError(
            f"transfer={changing[0]} changes the layers of a backbone, which several families share: take "
            "transfer=finetune or l2sp."
        )
    learner: Learner = build("algo", config["algo"], backbone=backbone, family=family, norm=config["backbone"]["norm"])
    _add_terms(learner, transfer, config)
    transfer.check(tuple(source.input_shape))
    if transfer.conditioning:
        _refuse_condition(learner, transfer.conditioning[0], config["algo"]["name"], source)
        transfer.condition(learner.network, learner.family, tuple(source.input_shape), source.labelled)
    return learner


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA, then Apple's GPU, then the CPU; under torchrun each process takes its own GPU."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if present[kind])
    if not present[name]:
        raise UsageError(f"trainer.device={name} is not available on this machine: use trainer.device=auto.")
    if name != "cuda":
        return torch.device(name)
    # a resumed run equals an unbroken one bit for bit, and float32 means float32
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device(name, torch.cuda.current_device())


def _add_terms(learner: Learner, transfer: Transfer, config: Mapping[str, Any]) -> None:
    """Gives the learner the penalties of transfer; UsageError where it has no loss that could take them."""
    algo = config["algo"]["name"]
    for name, term in transfer.terms(learner.network, learner.family).items():
        if not learner.stages:
            raise UsageError(f"transfer={name} adds to a loss; algo={algo} has none to train with.")
        if term.is_at("outer") and learner.meta_gradient == "own":
            raise UsageError(
                f"transfer={name} adds to the outer loss; algo={algo} has a meta-gradient of its own, which is not "
                "that loss's: take maml or fomaml."
            )
        if term.is_at("inner") and not learner.inner_terms:
            raise UsageError(
                f"transfer.{name}.at={term.at}: algo={algo} has no inner loss over the network's weights: take "
                f"transfer.{name}.at=outer, or maml."
            )
        if term.needs_minibatches and any(stage.stream != "minibatches" for stage in learner.stages):
            raise UsageError(
                f"transfer={name} compares the outputs of fixed classes; algo={algo} trains on tasks whose classes "
                "change: take joint or baseline, or a strategy that compares features."
            )
        learner.terms[name] = term


def _refuse_condition(learner: Learner, strategy: str, algo: str, source: Source) -> None:
    """UsageError where a strategy that conditions a network on its task could not be trained with the learner."""
    if not learner.stages or not learner.conditional or learner.meta_gradient == "own":
        raise UsageError(
            f"transfer={strategy} is trained by the outer loss beside the network's weights, and algo={algo} has no "
            "gradient of it for them: take maml, fomaml, anil or protonet; on labelled examples joint."
        )
    if not source.labelled and any(stage.stream != "episodes" for stage in learner.stages):
        raise UsageError(
            f"transfer={strategy} learns what differs between tasks; algo={algo} trains on minibatches of all classes, "
            "which are one task, and is tested on others: take a method that trains on episodes."
        )


def _refuse_unknown_stages(config: Mapping[str, Any], known: list[str]) -> None:
    if wrong := [name for name in config["trainer"]["stages"] if name not in known]:
        there = f"its earlier stages are {', '.join(known)}" if known else "it has no earlier stage"
        raise UsageError(f"trainer.stages.{wrong[0]}: algo={config['algo']['name']} has no such stage; {there}.")


def _refuse_labelled_examples(config: Mapping[str, Any], source: Source, learner: Learner) -> None:
    if source.labelled and [stage.stream for stage in learner.stages] != ["minibatches"]:
        raise UsageError(
            f"algo={config['algo']['name']} learns from few-shot tasks, of which {source.name} has none: its examples "
            "are labelled once; take algo=joint."
        )


def _refuse_new_tasks(config: Mapping[str, Any], source: Source, learner: Learner) -> None:
    if source.labelled or learner.adapts:
        return
    algo = config["algo"]["name"]
    if source.kind == "regression":
        raise UsageError(f"algo={algo} adapts to no task, and those of {source.name} differ: take algo=maml or cnp.")
    raise UsageError(
        f"algo={algo} learns fixed classes, and {source.name} tests classes that training has not met: take a "
        "few-shot method such as algo=baseline or protonet, or data with fixed labels such as data=digits."
    )


def _refuse_nothing_to_train(config: Mapping[str, Any], learner: Learner) -> None:
    if config["trainer"]["steps"] and learner.stages and not any(w.requires_grad for w in learner.parameters()):
        raise UsageError(
            f"algo={config['algo']['name']} has nothing to train over a frozen backbone: set trainer.steps=0, give "
            "backbone.projection=256, or set backbone.frozen=false."
        )
