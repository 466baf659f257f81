from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path

import pytest

from metamtl.errors import Interrupted
from metamtl.runs.log import log_to
from tests.runs.crashes import run_on_full_disk


def test_each_job_has_a_log_of_its_own_and_a_failure_its_traceback(tmp_path: Path) -> None:
    logger = logging.getLogger("metamtl.trainer")
    handlers = list(logging.getLogger().handlers)
    with log_to(tmp_path / "0" / "log.txt"):
        logger.info("first job")
        logging.getLogger("other").warning("of a library")
        logging.getLogger("other").info("chatter")
    with pytest.raises(ZeroDivisionError), log_to(tmp_path / "1" / "log.txt"):
        logger.info("second job, api_key=abc")
        _ = 1 / 0
    logger.warning("after")
    first, second = ((tmp_path / name / "log.txt").read_text() for name in "01")
    assert re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO metamtl\.trainer: first job\n", first)
    assert "of a library" in first
    assert "chatter" not in first
    assert "second job, api_key=***" in second
    assert "ZeroDivisionError: division by zero" in second
    assert "Traceback" in second
    assert "second" not in first and "after" not in first + second
    assert logging.getLogger().handlers == handlers


def test_an_interruption_takes_one_line_and_a_resumed_run_appends(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with pytest.raises(Interrupted), log_to(path):
        raise Interrupted("stopped at step 5", 15)
    with pytest.raises(KeyboardInterrupt), log_to(path):
        raise KeyboardInterrupt
    lines = path.read_text().splitlines()
    assert [line.partition(": ")[2] for line in lines] == [
        "interrupted: stopped at step 5",
        "interrupted: by the keyboard",
    ]


def test_secrets_in_a_traceback_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "not-a-real-key-0123")
    with pytest.raises(ValueError, match="key"), log_to(tmp_path / "log.txt"):
        raise ValueError("bad key not-a-real-key-0123")
    assert "not-a-real-key" not in (tmp_path / "log.txt").read_text()


def test_a_full_disk_does_not_stop_the_block(tmp_path: Path) -> None:
    said = run_on_full_disk(
        """
        import logging, sys
        sys.stderr = sys.stdout
        from metamtl.runs.log import log_to
        (disk / "filler").write_bytes(bytes(900_000))
        with log_to(disk / "log.txt"):
            for _ in range(5000):
                logging.getLogger("metamtl").info("x" * 100)
        print("done")
        """,
        tmp_path / "disk",
    )
    assert said == "done\n"


def test_python_warnings_stay_where_they_were(tmp_path: Path) -> None:
    with log_to(tmp_path / "log.txt"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("x", stacklevel=1)
    assert len(caught) == 1
