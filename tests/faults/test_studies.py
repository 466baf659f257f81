"""A sweep's database or journal, cut or overwritten: finished trials are there again, or the damage is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamtl.errors import MetamtlError
from tests.faults.test_damage import FORMS, damaged
from tests.sweep.test_study import joined, request, take

STORES = {"database": "study.db", "journal": "journal.log"}
# SQLite keeps no checksums: a byte that changed in a value is noticed when the value is read, by the database alone
CASES = [(kind, form) for kind in STORES for form in FORMS if (kind, form) != ("database", "a byte changed")]


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_a_damaged_study_is_told_or_has_lost_no_finished_trial_but_those_cut_off(
    tmp_path: Path, kind: str, form: str
) -> None:
    file = tmp_path / STORES[kind]
    asked = request("sweep.trials=9", "sweep.sampler=random", storage=None if kind == "database" else str(file))
    with joined(asked, tmp_path) as (ledger, owner):
        for value in (0.5, 0.25):
            ledger.complete(take(ledger, owner), value)
    file.write_bytes(damaged(file.read_bytes())[form])
    try:
        with joined(asked, tmp_path) as (ledger, owner):
            values = [trial.value for trial in ledger.trials() if trial.state.is_finished()]
            ledger.complete(take(ledger, owner), 0.125)
        with joined(asked, tmp_path) as (ledger, _):  # what was written after the damage can be read
            assert 0.125 in [trial.value for trial in ledger.trials()]
    except MetamtlError as error:
        assert str(file) in str(error) and "\n" not in str(error)
    else:
        assert values == [0.5, 0.25][: len(values)]
