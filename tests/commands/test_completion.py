"""`metamtl completion`, in real shells where they are installed."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metamtl.cli import main
from metamtl.commands.completion import SCRIPTS, complete
from tests.config.options import TOY, write


@pytest.fixture
def shell_path(tmp_path: Path) -> str:
    """A PATH on which `metamtl` is this package."""
    command = tmp_path / "metamtl"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m metamtl "$@"\n')
    command.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def need(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("metamtl tr", "train"),
        ("metamtl train algo=foma", "fomaml"),
        ("metamtl train -m algo=maml,prot", "maml,protonet"),
        ("metamtl train trainer.optimizer.nes", "trainer.optimizer.nesterov="),
        ("metamtl train algo=maml algo.order=", "first second"),
        ("metamtl list back", "backbone"),
    ],
)
def test_bash(line: str, found: str, shell_path: str) -> None:
    need("bash")
    script = f"""
PATH={shell_path}
source <(metamtl completion bash)
COMP_LINE={line!r} COMP_POINT={len(line)}
COMP_WORDS=({line.replace("=", " = ")}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
$(complete -p metamtl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
echo "${{COMPREPLY[*]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (found, "")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("metamtl tr", ["train"]),
        ("metamtl train algo=maml algo.order=", ["algo.order=first", "algo.order=second"]),
        ("metamtl list back", ["backbone"]),
    ],
)
def test_fish(line: str, found: list[str], shell_path: str, tmp_path: Path) -> None:
    need("fish")
    script = f'metamtl completion fish | source; complete -C "{line}"'
    environment = {**os.environ, "PATH": shell_path, "HOME": str(tmp_path)}
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, env=environment)
    assert (done.stdout.split(), done.stderr) == (found, "")


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("metamtl tra", "metamtl train"),
        ("metamtl train -m algo=maml,prot", "metamtl train -m algo=maml,protonet"),
        ("metamtl train trainer.optimizer.nes", "metamtl train trainer.optimizer.nesterov="),
    ],
)
def test_zsh(line: str, whole: str, shell_path: str, tmp_path: Path) -> None:
    """An interactive shell on a terminal of its own, in which a person presses the tab key."""
    need("zsh")
    child, terminal = pty.fork()
    if child == 0:
        environment = {**os.environ, "PATH": shell_path, "HOME": str(tmp_path), "TERM": "dumb", "PS1": "> "}
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
    try:
        os.write(
            terminal, b'autoload -U compinit; compinit -u -D; source <(metamtl completion zsh); echo "now"-ready\n'
        )
        read_until(terminal, "now-ready")
        os.write(terminal, line.encode() + b"\t")
        assert read_until(terminal, whole).endswith(whole)
    finally:
        os.close(terminal)  # hangs up, which ends the shell
        os.waitpid(child, 0)


def read_until(terminal: int, wanted: str, seconds: float = 30) -> str:
    """What the terminal shows until `wanted` is there, or until time is up."""
    seen, end = "", time.monotonic() + seconds
    while wanted not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
    return seen


def test_keys_follow_the_options_chosen(tmp_path: Path) -> None:
    write(tmp_path, {"data/toy.yaml": TOY})
    assert "algo.inner_lr=" in complete(["train", "algo=maml", "algo."])
    assert "algo.inner_lr=" not in complete(["train", "algo=protonet", "algo."])
    own = ["train", "--config-dir", str(tmp_path)]
    assert complete([*own, "data=toy"]) == ["data=toy"]
    assert "backbone.hidden=" in complete([*own, "data=toy", "backbone."])  # the data's default backbone
    assert "backbone.hidden=" not in complete([*own, "data=toy", "backbone=conv4", "backbone."])
    assert complete([*own, "data=toy", "data.split="]) == ["data.split=a", "data.split=b"]
    assert complete(["eval", "RUN", "task.sh"]) == ["task.shots="]
    assert complete(["train", "trainer.transductive="]) == ["trainer.transductive=false", "trainer.transductive=true"]


def test_every_shell_has_a_script_and_others_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in SCRIPTS:
        assert main(["completion", shell]) == 0
        assert "metamtl completion --words" in capsys.readouterr().out.replace('"${words[0]}"', "metamtl")
    assert main(["completion", "csh"]) == 2
