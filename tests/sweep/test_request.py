"""What a sweep is asked for: every problem at once, before torch; what may change later; and no password in a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from metamtl.cli import main
from metamtl.errors import MetamtlError, UsageError
from metamtl.sweep.request import Request, changed, read_request
from metamtl.sweep.storage import open_storage

GOOD = ("algo=maml", "data=sinusoid", "space.algo.inner_lr=log(1e-3,1)")


def problems(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_request(words, None)
    return "\n".join(caught.value.problems)


def test_a_request_and_its_first_trial() -> None:
    request, config = read_request([*GOOD, "sweep.trials=7", "seed=3", "trainer.steps=9"], None)
    assert config["algo"]["inner_lr"] == 0.001
    assert request.overrides == ["algo=maml", "data=sinusoid", "seed=3", "trainer.steps=9"]
    assert request.space == {"algo.inner_lr": "log(1e-3,1)"}
    assert (request.options["trials"], request.options["sampler"]) == (7, "tpe")
    assert (request.seed, request.steps) == (3, 9)


def test_all_problems_are_told_at_once() -> None:
    said = problems(
        "algo=maml",
        "data=sinusoid",
        "space.algo.inner_lrr=log(1e-3,1)",
        "space.algo.inner_steps=lgo(1,2)",
        "space.trainer.meta_batch=int(0,4)",
        "space.algo.order=choice(first,secnd)",
        "space.task.shots=int(1,5)",
        "sweep.trial=3",
        "sweep.sampler=tpee",
        "sweep.devices=[gpu]",
        "trainer.steps=1,2",
        "hydra/launcher=joblib",
    )
    for one in (
        "algo.inner_lrr: no such key; did you mean algo.inner_lr?",
        "there is no lgo(); did you mean log?",
        "trainer.meta_batch=0: must be an integer >= 1.",
        "algo.order=secnd: must be one of first, second; did you mean second?",
        "space.task.shots: trials must be validated on the same episodes",
        "sweep.trial: no such key; did you mean sweep.trials?",
        "sweep.sampler=tpee: must be one of tpe, random; did you mean tpe?",
        "sweep.devices: there is no device gpu",
        "write 'space.trainer.steps=choice(1,2)'.",
        "a sweep is not launched by Hydra",
    ):
        assert one in said, said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("algo=maml", "data=sinusoid"), "Nothing to search"),
        ((*GOOD, "algo.inner_lr=0.1"), "algo.inner_lr is both given and searched"),
        ((*GOOD, "sweep.pruner=hyperband", "space.trainer.steps=int(1,9)"), "needs the same trainer.steps"),
        ((*GOOD, "space.eval.val_episodes=int(2,9)"), "same episodes"),
        ((*GOOD, "+logger.api_key=abcdefgh12"), "give what is secret by the environment"),
    ],
)
def test_refusals(words: tuple[str, ...], said: str) -> None:
    assert said in problems(*words)


def test_options_may_be_searched_too() -> None:
    _, config = read_request(["data=sinusoid", "space.algo=choice(maml,anil)"], None)
    assert config["algo"]["name"] == "maml"
    assert "algo=mml: there is no such option" in problems("data=sinusoid", "space.algo=choice(maml,mml)")


def test_only_length_and_place_change_later() -> None:
    request, _ = read_request(GOOD, None)
    longer = changed(request, ["sweep.trials=99", "sweep.workers=3"])
    assert (longer.options["trials"], longer.options["workers"]) == (99, 3)
    assert dataclasses.replace(longer, options=request.options) == request
    with pytest.raises(UsageError) as caught:
        changed(request, ["sweep.sampler=random", "algo=anil", "space.seed=int(1,2)", "sweep.trials=0"])
    said = str(caught.value)
    assert "sweep.sampler was settled" in said
    assert "algo=anil: a sweep that goes on keeps its config." in said
    assert "space.seed: a sweep that goes on keeps its space." in said
    assert "sweep.trials=0: must be an integer >= 1." in said


def test_a_request_reads_back_and_hides_a_password(tmp_path: Path) -> None:
    request, _ = read_request([*GOOD, "sweep.storage='postgresql+psycopg://me:hunter2@db/x'"], None)
    request.save(tmp_path)
    assert "hunter2" not in (tmp_path / "sweep.yaml").read_text()
    loaded = Request.load(tmp_path)
    assert dataclasses.replace(loaded, options=request.options) == request
    with pytest.raises(UsageError, match="give it again, as"):
        open_storage(loaded.options["storage"], tmp_path)
    plain, _ = read_request([*GOOD, "sweep.storage='postgresql+psycopg://me@db/x'"], None)
    plain.save(tmp_path)
    assert Request.load(tmp_path) == plain
    with pytest.raises(MetamtlError, match="is not a sweep"):
        Request.load(tmp_path / "absent")


def test_flags_and_absent_packages(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["sweep", "--contineu", "x", "--config-dir"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "metamtl sweep --contineu: no such flag; `metamtl sweep --help` says what there is.",
        "--config-dir takes a folder.",
    ]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["sweep", *GOOD]) == 2
    assert capsys.readouterr().err == "metamtl sweep needs Optuna: pip install 'metamtl[sweep]'\n"
