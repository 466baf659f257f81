"""What steps wait for their data is recorded."""

from __future__ import annotations

import json

from metamtl.runs import metrics
from tests.trainer.runs import Runs, weights


def test_a_run_records_the_share_of_its_time_that_it_waited(runs: Runs) -> None:
    run = runs.finished("maml")
    shares = [line["time/data_wait"] for line in metrics.read(run / "metrics.jsonl") if "time/data_wait" in line]
    assert shares and all(0 < share < 1 for share in shares)
    progress, trained = weights(run)["progress"], json.loads((run / "result.json").read_text())["train"]
    assert 0 < progress["waited"] < progress["seconds"]
    assert trained["data_wait"] == progress["waited"] / progress["seconds"]
