"""A plan made to fit the memory that is there: smaller chunks first, then fewer workers, then flat memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from metamtl.data.task import TaskBatch
from metamtl.engine.plan import Plan, load

PEAK = 4.0  # the peak of a step over what is saved for its backward pass was 1.5 to 4.3 (measured, S1 to S5)
SHARE = 0.8  # of the free memory
_CGROUP = Path("/sys/fs/cgroup")


class _TooLargeError(Exception):
    """One task keeps more than there is room for."""


def fitted(plan: Plan, batch: TaskBatch, step: Callable[[TaskBatch], object], device: torch.device) -> Plan:
    """`plan` with its memory decided: "full", in chunks that fit, or "flat" where not even one task does.

    `step` takes the meta-gradient of the tasks of a batch, and is run on the first task to see what it keeps.
    """
    free = free_bytes(device)
    if free is None:
        return replace(plan, memory="full")
    room = SHARE * free / PEAK
    kept = _kept(lambda: step(batch.part(slice(0, 1))), room)
    tasks = None if kept is None else int(room // max(1, kept))
    chunk = min(plan.chunk(batch), len(batch))
    wanted = min(chunk * plan.workers, len(batch))
    if tasks is not None and tasks >= wanted:
        return replace(plan, memory="full")
    if tasks is None:
        found = replace(plan, memory="flat", workers=1, examples=load(batch))
    else:
        workers = min(plan.workers, tasks)
        found = replace(plan, memory="full", workers=workers, examples=tasks // workers * load(batch))
    warnings.warn(f"{_sentence(found, wanted, free)} trainer.memory=full keeps the usual plan.", stacklevel=3)
    return found


def free_bytes(device: torch.device) -> int | None:
    """Bytes that this process may still take, its share where several run; None where that is not known."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu":
        return None
    found = [*_of_the_machine(), *_of_the_group()]
    return min(found) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if found else None  # torchrun's


def _sentence(plan: Plan, wanted: int, free: int) -> str:
    if plan.memory == "flat":
        return (
            f"One task needs more than the {free / 1e9:.1f} GB that are free: inner steps are made again, one by one."
        )
    return f"{wanted} tasks at once need more than the {free / 1e9:.1f} GB that are free: chunks are smaller."


def _kept(step: Callable[[], object], most: float) -> int | None:
    """Bytes that the graph of `step` keeps for its backward pass; None for more than `most`."""
    sizes: dict[int, int] = {}
    total = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        more = storage.nbytes() - sizes.get(storage.data_ptr(), 0)
        if more > 0:
            sizes[storage.data_ptr()] = storage.nbytes()
            total += more
        if total > most:
            raise _TooLargeError
        return tensor

    try:
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            step()
    except _TooLargeError:
        return None
    except RuntimeError as error:
        if "saved tensor hooks" not in str(error):
            raise
        return 0  # a learner that transforms by torch.func itself, which takes no hooks: nothing is known
    return total


def _of_the_machine() -> list[int]:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return [1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))]
    with suppress(OSError, ValueError, AttributeError):  # as a whole, where what is free of it is not told
        return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    return []


def _of_the_group() -> list[int]:
    """What a container's limit leaves."""
    with suppress(OSError, ValueError):  # "max" is no number
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        return [max(0, limit - int((_CGROUP / "memory.current").read_text(encoding="ascii")))]
    return []
