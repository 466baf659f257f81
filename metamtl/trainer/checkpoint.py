"""What a checkpoint holds: plain tensors and numbers, enough to go on as if the run had never stopped.

Episodes, learning rates and noise are functions of the step, so the stream's position is the step itself.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from metamtl.errors import MetamtlError
from metamtl.families import Families
from metamtl.runs import checkpoints
from metamtl.runs.folder import RunFolder


@dataclass
class Progress:
    """Where training is; every number that a later step depends on."""

    stage: int = 0
    step: int = 0  # completed updates of the stage
    total: int = 0  # completed updates of all stages: the step that metrics carry
    best_step: int | None = None
    best_value: float | None = None
    stale: int = 0  # validations since the best one
    validated: int = -1  # the step of the last validation
    stopped_early: bool = False
    skipped: int = 0  # updates left out because they were not finite
    tasks: int = 0
    seconds: float = 0.0  # spent on updates
    waited: float = 0.0  # of these, for their data
    weighing: float = 0.0  # of these, by the weighting of several families
    sums: dict[str, float] = field(default_factory=dict)  # of figures since the last line of metrics
    summed: int = 0
    absent: dict[str, int] = field(default_factory=dict)  # of these updates, those without a figure
    chosen: dict[str, list[float]] = field(default_factory=dict)  # step and value of what other criteria chose
    first: dict[str, float] = field(default_factory=dict)  # each family's metric at the first validation


@dataclass
class State:
    """Everything that changes during training."""

    progress: Progress
    optimizer: torch.optim.Optimizer
    ema: dict[str, Tensor] | None


def save(run: RunFolder, families: Families, state: State, metrics_position: int) -> None:
    """Writes checkpoints/last.pt; the one before stays until this one is whole."""
    content = {
        "learner": families.module.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "ema": state.ema,
        "progress": asdict(state.progress),
        "metrics_position": metrics_position,
        "plans": {name: parts.engine.plan.record() for name, parts in families.each.items()},
        "threads": torch.get_num_threads(),
    }
    checkpoints.save(run.checkpoints, "last", to_bytes(content), {"step": state.progress.total})


def load(run: RunFolder) -> tuple[dict[str, Any] | None, list[str]]:
    """The content of the last sound checkpoint, on the CPU, and sentences about damaged ones.

    None where the run was killed before its first one was whole: it then starts from its seed.
    """
    if _never_saved(run):
        return None, ["The run was stopped before its first checkpoint: it starts from step 0."]
    found = checkpoints.load(run.checkpoints, "last")
    content = _from_bytes(found.payload)
    return content, [*found.notes, *_settle_best(run, content["progress"])]


def restore(content: dict[str, Any], module: nn.Module, state: State) -> None:
    """Puts a checkpoint's content in place."""
    _give(module, content["learner"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.ema = None if content["ema"] is None else _like_weights(content["ema"], module)


def save_best(run: RunFolder, module: nn.Module, step: int) -> None:
    """Writes checkpoints/best.pt: the weights and buffers alone."""
    checkpoints.save(run.checkpoints, "best", to_bytes({"learner": module.state_dict()}), {"step": step})


def load_best(run: RunFolder, module: nn.Module, step: int | None = None) -> list[str]:
    """Gives a learner its best weights, those of `step` where it is given; returns sentences about damaged files."""
    found = checkpoints.load(run.checkpoints, "best", step)
    _give(module, _from_bytes(found.payload)["learner"])
    return found.notes


def _give(module: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).partition("\n")[2].partition("\n")[0].strip().rstrip(".")
        raise MetamtlError(
            f"The weights of the run are not those of the learner that its config makes ({first}): config.yaml was "
            "changed, or the run was begun by another version of metamtl, which is then the one to go on with."
        ) from error


def learner_of(payload: bytes) -> dict[str, Tensor]:
    """The weights and buffers that a checkpoint's bytes hold; MetamtlError where they are none of metamtl's."""
    content = _from_bytes(payload)
    if not isinstance(content, dict) or "learner" not in content:
        raise MetamtlError("The checkpoint is refused: it holds no learner.")
    found: dict[str, Tensor] = content["learner"]
    return found


@contextmanager
def averaged(module: nn.Module, ema: dict[str, Tensor] | None) -> Iterator[None]:
    """While held-out tasks are met, the averaged weights where the run keeps them."""
    if ema is None:
        yield
        return
    own = {name: tensor.clone() for name, tensor in _averageable(module).items()}
    _copy(ema, module)
    try:
        yield
    finally:
        _copy(own, module)


def update_ema(ema: dict[str, Tensor] | None, module: nn.Module, decay: float | None) -> dict[str, Tensor] | None:
    """The exponential moving average of the weights, and of the running statistics that belong to them.

    A decay of n / (n + 1) makes the mean of n + 1 weights, one after another.
    """
    if decay is None:
        return None
    if ema is None:
        return {name: tensor.clone() for name, tensor in _averageable(module).items()}
    for name, tensor in _averageable(module).items():
        ema[name].lerp_(tensor, 1 - decay)
    return ema


def _never_saved(run: RunFolder) -> bool:
    # the sidecar ends a save, and the first save comes before the first line of metrics
    saved = any((run.checkpoints / name).exists() for name in ("last.json", "previous.json", "previous.pt"))
    return not saved and not (run.metrics_file.exists() and run.metrics_file.stat().st_size)


def _settle_best(run: RunFolder, progress: dict[str, Any]) -> list[str]:
    """Makes best.pt the one that the checkpoint means, which a kill between the two leaves as the one before.

    Where it is lost the next validation chooses anew; sentences say so.
    """
    step = progress["best_step"]
    if step is None:
        return []
    try:
        found = checkpoints.load(run.checkpoints, "best", step)
    except MetamtlError:
        progress.update(best_step=None, best_value=None, stale=0, validated=-1)
        return [f"The best weights so far, of step {step}, are lost or damaged: the next validation chooses anew."]
    if found.notes:
        checkpoints.save(run.checkpoints, "best", found.payload, {"step": step})
    return found.notes


def _averageable(module: nn.Module) -> dict[str, Tensor]:
    """The learner's own floating-point tensors, weights and buffers, by name."""
    return {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}


def _copy(tensors: dict[str, Tensor], module: nn.Module) -> None:
    with torch.no_grad():
        for name, tensor in _averageable(module).items():
            tensor.copy_(tensors[name])


def _like_weights(ema: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    return {name: ema[name].to(tensor.device) for name, tensor in _averageable(module).items()}


def to_bytes(content: dict[str, Any]) -> bytes:
    """A record of tensors and plain values as a checkpoint has it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _from_bytes(payload: bytes) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint of ours
        raise MetamtlError(
            "The checkpoint is refused: it is not one of metamtl's, or holds more than tensors and numbers."
        ) from error
    return content
