"""`metamtl completion`, in a real bash where it matters."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metamtl.cli import main
from metamtl.commands.completion import SCRIPTS, complete
from tests.config.options import TOY, write


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
def test_bash(line: str, found: str, tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    command = tmp_path / "metamtl"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m metamtl "$@"\n')
    command.chmod(0o755)
    script = f"""
PATH={tmp_path}:$PATH
source <(metamtl completion bash)
COMP_LINE={line!r} COMP_POINT={len(line)}
COMP_WORDS=({line.replace("=", " = ")}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
$(complete -p metamtl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
echo "${{COMPREPLY[*]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (found, "")


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
