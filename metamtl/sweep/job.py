"""What one process of a sweep does: trains or resumes one run, and asks the sweep what it thinks of each validation."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from metamtl.errors import Diverged, Interrupted, MetamtlError, Pruned
from metamtl.failures import record, sentence
from metamtl.registry import use_folder
from metamtl.runs.files import read_json
from metamtl.runs.lock import held
from metamtl.runs.metrics import read

LOCK_SECONDS = 10.0  # that a process which is being killed may keep its run
CUDA = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Job:
    """A run to be trained in `folder`: `overrides` of `metamtl train`, given in `directory`."""

    folder: Path
    overrides: list[str]
    directory: str
    config_dir: str | None
    device: str | None
    metric: str

    @property
    def command(self) -> list[str]:
        """The command that trains the same run."""
        own = ["--config-dir", self.config_dir] if self.config_dir else []
        return ["metamtl", "train", *own, *self.overrides]


@dataclass(frozen=True)
class Validation:
    """A validation at `step`; the process waits for what is thought of it."""

    step: int
    value: float


@dataclass(frozen=True)
class Outcome:
    """How a job ended; `value`: the validation figure of the weights that were kept.

    `diverged`: its values led away from the numbers, which is a finding; `failed`: it could not be trained for any
    other reason.
    """

    status: Literal["completed", "pruned", "diverged", "failed", "interrupted", "taken", "died"]
    reason: str = ""
    value: float | None = None


def work(job: Job, sweep: Connection) -> None:
    """The process: `sweep` gets a Validation, answered by a reason to stop or None, for each; at last an Outcome."""
    with suppress(OSError):
        os.setpgid(0, 0)  # Ctrl-C is for the command, which stops its processes in good order
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _redirect(job)
    with suppress(OSError):  # on another machine, where all paths are given whole
        os.chdir(job.directory)

    if job.config_dir is not None:
        use_folder(Path(job.config_dir).expanduser())

    def watch(step: int, figures: Mapping[str, float]) -> None:
        sweep.send(Validation(step, float(figures[f"val/{job.metric}"])))
        verdict = sweep.recv()
        if verdict is not None:
            raise Pruned(verdict)

    sweep.send(_outcome(job, watch))


def _outcome(job: Job, watch: Callable[[int, Mapping[str, float]], None]) -> Outcome:
    try:
        if _is_taken(job.folder):
            return Outcome("taken")
        _train(job, watch)
        return Outcome("completed", value=kept_figure(job.folder, job.metric))
    except Pruned as verdict:
        return Outcome("pruned", str(verdict))
    except (Interrupted, KeyboardInterrupt) as error:
        return Outcome("interrupted", str(error))
    except Exception as error:
        with suppress(OSError):
            job.folder.mkdir(parents=True, exist_ok=True)
            record(error, job.folder)
        status: Literal["diverged", "failed"] = "diverged" if isinstance(error, Diverged) else "failed"
        return Outcome(status, " ".join(sentence(error).split()))


def _train(job: Job, watch: Callable[[int, Mapping[str, float]], None]) -> None:
    from metamtl.config.compose import compose
    from metamtl.trainer.run import resume_run, train_run

    if not (job.folder / "meta.json").exists():
        with suppress(FileNotFoundError):
            (job.folder / "config.yaml").unlink()  # all that was there when a kill came before meta.json
        config = compose([*job.overrides, *_device(job.device)], Path(job.config_dir) if job.config_dir else None)
        train_run(config, job.command, job.folder, watch)
        return
    meta = read_json(job.folder / "meta.json")
    if meta["status"] == "pruned":
        raise Pruned(meta["reason"])
    if meta["status"] != "completed":  # a run whose end was not told yet is left as it is
        resume_run(job.folder, _device(job.device), watch)


def _device(name: str | None) -> list[str]:
    """The override that takes the device; a numbered GPU is the only one that the process sees."""
    if name is None:
        return []
    kind, _, number = name.partition(":")
    if number:
        visible = os.environ.get(CUDA, "").split(",")
        os.environ[CUDA] = visible[int(number)] if int(number) < len(visible) and visible != [""] else number
    return [f"trainer.device={kind}"]


def kept_figure(folder: Path, metric: str) -> float:
    """The validation figure of the weights that the run in `folder` kept; MetamtlError where it recorded none."""
    best: dict[str, Any] = read_json(folder / "result.json")["best"]
    name = f"val/{metric}"
    found = [line[name] for line in read(folder / "metrics.jsonl") if name in line and line["step"] == best["step"]]
    if not found:
        raise MetamtlError(f"{folder} has recorded no {name} at step {best['step']}.")
    return float(found[-1])


def _is_taken(folder: Path) -> bool:
    deadline = time.monotonic() + LOCK_SECONDS
    while held(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held(folder)


def _redirect(job: Job) -> None:
    output = job.folder.parent / "output" / f"{job.folder.name}.txt"
    output.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)


def _end_with_parent() -> None:
    """No process outlives the command: what it trained goes on from its last checkpoint."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
