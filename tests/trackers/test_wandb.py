from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metamtl.trackers.wandb import chosen_mode

KEY = "0123456789abcdef0123456789abcdef01234567"  # of the form that wandb takes, and nobody's

# Two jobs of a multirun in one process, as `metamtl train -m` runs them, the second one failing.
TWO_JOBS = """
import sys, time
from pathlib import Path
from metamtl.runs.folder import RunFolder, new_sweep
from metamtl.trackers.group import build_trackers
outputs = Path(sys.argv[1])
sweep = new_sweep(outputs, "sweep")
config = {"paths": {"outputs": str(outputs)}, "seed": 0, "secrets": {"api_key": sys.argv[2]}}
for number, status in enumerate(["completed", "failed"]):
    run = RunFolder.claim(sweep / str(number), config, ["train", "x.api_key=" + sys.argv[2]])
    trackers = build_trackers({"wandb": {"name": "wandb", "project": "test", "mode": "offline"}})
    trackers.start(run, config)
    for step in range(3):
        trackers.log(step, {"train/loss": 0.5})
    trackers.finish({"test": {"accuracy": {"mean": 0.75 + number}}}, status)
import wandb
assert wandb.run is None
"""

UNREACHABLE = """
import sys
from pathlib import Path
import metamtl.trackers.wandb
from metamtl.runs.folder import RunFolder
from metamtl.trackers.group import build_trackers
metamtl.trackers.wandb._START_SECONDS = 1.0
outputs = Path(sys.argv[1])
run = RunFolder.create(outputs, {"seed": 0}, [], "x")
trackers = build_trackers({"wandb": {"name": "wandb"}})
trackers.start(run, {"paths": {"outputs": str(outputs)}})
trackers.log(1, {"train/loss": 0.5})
trackers.finish(None, "completed")
"""


@pytest.fixture
def no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    return netrc


def test_it_is_online_only_where_a_key_is(no_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_mode("auto") == "offline"
    no_key.write_text("machine elsewhere.org login user password x\n")
    assert chosen_mode("auto") == "offline"
    no_key.write_text("machine api.wandb.ai login user password x\n")
    assert chosen_mode("auto") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert chosen_mode("auto") == "offline"
    no_key.write_text("not a netrc {")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert chosen_mode("auto") == "online"
    assert chosen_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert chosen_mode("auto") == "disabled"


@pytest.fixture
def a_key(no_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def _run(program: str, outputs: Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", program, str(outputs), KEY]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120, cwd=outputs.parent)


def _files_with_the_key(folder: Path) -> list[Path]:
    everything = [path for path in folder.rglob("*") if path.is_file()]
    assert len(everything) > 6
    return [path for path in everything if KEY.encode() in path.read_bytes()]


@pytest.mark.usefixtures("a_key")
def test_a_key_without_a_network_ends_offline_with_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    done = _run(UNREACHABLE, tmp_path / "outputs")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "", 1), done.stderr
    assert "wandb cannot go online, so it keeps this run offline" in done.stderr
    record = next((tmp_path / "outputs" / "wandb").glob("offline-run-*/*.wandb")).read_bytes()
    assert b"train/loss" in record
    assert _files_with_the_key(tmp_path) == []


@pytest.mark.usefixtures("a_key")
def test_two_jobs_offline_share_a_folder_quietly_and_hold_no_key(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    done = _run(TWO_JOBS, outputs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    folders = sorted((outputs / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    for number, folder in enumerate(folders):
        record = next(folder.glob("*.wandb")).read_bytes()
        assert b"train/loss" in record
        assert f"{0.75 + number}".encode() in record  # the result is in the summary
    assert _files_with_the_key(tmp_path) == []
