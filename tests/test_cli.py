"""The verbs: help that is quick, exit codes that say what happened, and silence when nobody listens."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from metamtl.cli import VERBS, main
from metamtl.errors import Interrupted, MetamtlError, UsageError


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: metamtl {verb}")
    assert "examples:" in out
    assert max(map(len, out.splitlines())) <= 120


def test_help_names_every_verb_and_no_verb_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {verb} " in out for verb in VERBS)
    assert main([]) == 2


def test_the_home_folder_after_a_dotted_key_is_the_home_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As README.md writes it: shells put the home folder in of `data=~/x`, and not of `paths.data=~/x`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["paths.data=~/data", "paths.cache=~", "--cfg", "job", "--package", "paths"]
    assert main(["train", *words]) == 0
    out = capsys.readouterr().out
    assert f"data: {tmp_path}/data\n" in out and f"cache: {tmp_path}\n" in out


def test_an_unknown_verb_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("metamtl trian: no such verb; did you mean metamtl train?")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MetamtlError("The disk is full."), 1, "The disk is full.\n"),
        (UsageError("First.", "Second."), 2, "First.\nSecond.\n"),
        (Interrupted("Stopped.", 15), 143, "Stopped.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> int:
        raise error

    module = ModuleType("failing")
    module.main = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "failing", module)
    monkeypatch.setitem(VERBS, "fail", ("failing", ""))
    assert main(["fail"]) == code
    assert capsys.readouterr().err == said


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m metamtl list --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[" if done.stdout == "[" else "{", "")


def test_help_takes_at_most_eight_times_an_empty_python() -> None:
    def seconds(*arguments: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start

    pairs = [(seconds("-m", "metamtl", "--help"), seconds("-c", "pass")) for _ in range(7)]
    # the best of interleaved runs: what the machine does beside them only adds
    assert min(ours for ours, _ in pairs) <= 8 * min(empty for _, empty in pairs)
