"""What may be tried for a key: expressions, their problems, and values as the command line reads them."""

from __future__ import annotations

import math

import optuna
import pytest

from metamtl.errors import UsageError
from metamtl.sweep.space import read_space


@pytest.mark.parametrize(
    ("text", "extremes"),
    [
        ("log(1e-3,1)", ["0.001", "1.0"]),
        ("uniform( -1 , 2.5 )", ["-1.0", "2.5"]),
        ("int(1,5)", ["1", "5"]),
        ("logint(1,64)", ["1", "64"]),
        ("choice(a,'b,c',[1,2],{x:1,y:2})", ["a", "'b,c'", "[1,2]", "{x:1,y:2}"]),
    ],
)
def test_expressions(text: str, extremes: list[str]) -> None:
    assert read_space({"key": text})["key"].extremes() == extremes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.1", "write log(a,b)"),
        ("lgo(1,2)", "there is no lgo(); did you mean log?"),
        ("log(0,1)", "log takes numbers above 0."),
        ("log(1)", "log takes two numbers"),
        ("uniform(a,b)", "uniform takes two numbers"),
        ("uniform(2,1)", "must be smaller"),
        ("uniform(nan,1)", "must be smaller"),
        ("uniform(0,inf)", "must be smaller"),
        ("int(1,2.5)", "two whole numbers"),
        ("choice(a)", "two or more different values"),
        ("choice(a,a)", "two or more different values"),
        ("choice(a,)", "two or more different values"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"^space\.key=") as caught:
        read_space({"key": text})
    assert said in str(caught.value)


def test_every_problem_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        read_space({"one": "log(0,1)", "two": "int(0.5,1)"})
    assert len(caught.value.problems) == 2


def test_values_lie_in_their_range_and_stay_when_asked_again() -> None:
    space = read_space({"a": "log(1e-4,1)", "b": "logint(1,64)", "c": "uniform(-1,1)", "d": "choice(x,[1,2])"})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    drawn = []
    for _ in range(200):
        trial = study.ask()
        values = {key: dimension.suggest(trial) for key, dimension in space.items()}
        again = optuna.Trial(study, trial._trial_id)
        assert {key: dimension.suggest(again) for key, dimension in space.items()} == values
        drawn.append(values)
    a = [float(values["a"]) for values in drawn]
    assert min(a) >= 1e-4
    assert max(a) <= 1
    below = sum(value < 1e-2 for value in a)
    assert 60 < below < 140, "half of the values lie below the geometric mean"
    assert {values["d"] for values in drawn} == {"x", "[1,2]"}
    assert {math.floor(float(values["c"])) for values in drawn} == {-1, 0}
    assert all(values["b"] == str(int(values["b"])) for values in drawn)
