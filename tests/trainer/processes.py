"""Real processes of metamtl that start at once: each is forked from a server that has torch and the rest imported."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

PATIENCE = 120.0  # seconds that anything may take on a busy machine
_IMPORTED = [
    "metamtl.cli",
    "metamtl.trainer.session",
    "metamtl.evaluation.session",
    "metamtl.data.folder",
    "metamtl.data.sinusoid",
    "metamtl.algos.maml",
    "metamtl.algos.protonet",
    "metamtl.algos.baseline",
    "torch._dynamo",  # which making an optimiser imports
    "torch.distributed",
]
_context = multiprocessing.get_context("forkserver")
Job = Callable[[], int]


@dataclass
class Running:
    """A job in a process of its own; what it prints goes to two files."""

    process: BaseProcess
    out_file: Path
    err_file: Path

    @property
    def out(self) -> str:
        return self.out_file.read_text()

    @property
    def err(self) -> str:
        return self.err_file.read_text()

    def end(self) -> int:
        """The exit code, -signal where a signal ended it."""
        self.process.join(PATIENCE)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
        assert code is not None, f"still running\n{self.err}"
        return code

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition holds; fails where the process ends before."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.is_alive(), f"ended with {self.process.exitcode}\n{self.err}"
            assert time.monotonic() < deadline, self.err
            time.sleep(0.002)


def start(job: Job, folder: Path, env: Mapping[str, str] | None = None) -> Running:
    """The job in `folder`; `env` is added to its environment."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the server when it imports torch
    _context.set_forkserver_preload(_IMPORTED)
    folder.mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in folder.glob("*.out"))
    out, err = folder / f"{number}.out", folder / f"{number}.err"
    out.touch()
    err.touch()
    process = _context.Process(target=_run, args=(job, folder, out, err, dict(env or {})), daemon=True)
    process.start()
    return Running(process, out, err)


def start_together(size: int, job: Job, folder: Path) -> list[Running]:
    """The job in `size` processes, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = ({**world, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size))
    return [start(job, folder, env) for env in ranks]


def ended(job: Job, folder: Path, code: int = 0) -> Running:
    """The job, ended with this exit code."""
    running = start(job, folder)
    assert running.end() == code, running.err
    return running


def command(*arguments: str) -> Job:
    """`metamtl ARGUMENTS`."""
    return partial(_command, arguments)


def training(config: dict[str, Any]) -> Job:
    """`metamtl train` with a config that is composed already, which is what takes its time."""
    return partial(_train, config)


def _command(arguments: tuple[str, ...]) -> int:
    from metamtl.cli import main

    return main(arguments)


def _train(config: dict[str, Any]) -> int:
    from metamtl import cli
    from metamtl.errors import Interrupted
    from metamtl.trainer.run import train_run

    paths = {**config["paths"], "outputs": str(Path.cwd() / "outputs")}
    try:
        train_run({**config, "paths": paths}, ["metamtl", "train"])
    except (Exception, Interrupted) as error:
        return cli._report(error)
    return 0


def _run(job: Job, folder: Path, out: Path, err: Path, env: Mapping[str, str]) -> None:
    os.environ.update(env)
    os.chdir(folder)
    for descriptor, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    from metamtl.trainer import session

    mock.patch.object(session, "plot_curves").start()  # takes longer than these runs, and is tested elsewhere
    sys.exit(job())
