"""Saved predictors: the same answers without run or data, and no file that can run code or that is lost."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import metamtl
from metamtl.backbones import fused
from metamtl.config.earlier import completed
from metamtl.config.library import Library
from metamtl.deploy.adapted import build_for_use
from metamtl.deploy.predictor import Predictor
from metamtl.deploy.record import KIND, plain, restored
from metamtl.errors import MetamtlError, UsageError
from tests.deploy.made import INPUTS, drawings, made_model

# baselines that adapt on nothing, and labelled examples that are no tasks
METHODS = sorted(Library.load(None).groups["algo"].keys() - {"joint", "lamaml"})


def _adapted(algo: str = "protonet", *overrides: str) -> Predictor[str]:
    return made_model(algo, *overrides).adapt(*drawings(0, shots=2))


@pytest.mark.parametrize("algo", METHODS)
def test_every_method_answers_the_same_when_it_is_loaded(algo: str, tmp_path: Path) -> None:
    predictor = _adapted(algo)
    predictor.save(tmp_path / "a.pt")
    loaded = metamtl.load_predictor(tmp_path / "a.pt", device="cpu")
    z, _ = drawings(1, shots=3)
    before, after = predictor.predict(z), loaded.predict(z)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)
    np.testing.assert_array_equal(after.scores, before.scores)
    assert after.labels == before.labels
    assert (loaded.threshold, loaded.reader) == (predictor.threshold, predictor.reader)
    assert loaded.adapted.origin["support"]["per_class"] == [2, 2, 2]


def test_a_model_of_an_earlier_version_takes_the_defaults_of_keys_that_came_later() -> None:
    settings = dict(made_model("maml").parts.config)
    older = {**settings, **{group: dict(settings[group]) for group in ("trainer", "eval", "algo", "backbone")}}
    removed = {"trainer": "precision", "eval": "val_episodes", "algo": "order", "backbone": "readout"}
    for group, key in removed.items():
        del older[group][key]
    older["algo"]["inner_lr"] = 0.7
    complete = completed(older)
    assert complete["algo"] == {**settings["algo"], "inner_lr": 0.7}
    assert all(key in complete[group] for group, key in removed.items())
    assert all(list(completed(settings)[group]) == list(settings[group]) for group in removed)  # in their order
    build_for_use(older, INPUTS, "cpu")


def test_a_pattern_of_sharing_takes_the_defaults_of_keys_that_came_later() -> None:
    settings = dict(made_model("protonet").parts.config)
    old = {**settings, "sharing": {"name": "cascade", "feeds": {"slots": "intent"}}}
    assert completed(old)["sharing"] == {"name": "cascade", "feeds": {"slots": "intent"}, "embedding": 32}


def test_a_model_of_a_run_by_compiled_kernels_does_not_ask_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> bool:
        raise AssertionError("numba is asked for")

    monkeypatch.setattr(fused, "available", asked)
    for choice in ("true", "null"):
        made_model("protonet", f"trainer.fused={choice}").adapt(*drawings(0, shots=2))


@pytest.mark.parametrize("transductive", [False, True])
def test_statistics_of_the_support_or_of_the_batch_are_kept(transductive: bool, tmp_path: Path) -> None:
    model = made_model("maml")
    predictor = model.adapt(*drawings(0, shots=2), transductive=transductive, invert="never")
    predictor.save(tmp_path / "a.pt")
    loaded = metamtl.load_predictor(tmp_path / "a.pt", device="cpu")
    z = drawings(1, shots=3)[0][:4]
    np.testing.assert_array_equal(loaded.predict(z).scores, predictor.predict(z).scores)
    assert loaded.adapted.transductive == transductive
    assert loaded.predict(255 - z).inverted.sum() == 0


def test_labels_keep_their_kind(tmp_path: Path) -> None:
    x, y = drawings(0, shots=2)
    kinds: list[Any] = [("a", (1, 2.5)), 7, None]
    model = made_model("protonet")
    model.adapt(x, [kinds[int(name[-1])] for name in y]).save(tmp_path / "a.pt")
    assert metamtl.load_predictor(tmp_path / "a.pt").classes == kinds
    with pytest.raises(UsageError, match=r"frozenset.*cannot be saved"):
        model.adapt(x, [frozenset(name) for name in y]).save(tmp_path / "b.pt")
    assert not (tmp_path / "b.pt").exists()


def test_a_file_holds_no_place_of_the_machine(tmp_path: Path) -> None:
    _adapted().save(tmp_path / "a.pt")
    record = torch.load(tmp_path / "a.pt", weights_only=True)
    assert {"data", "paths", "logger"}.isdisjoint(record["settings"])
    assert "outputs" not in repr({key: value for key, value in record.items() if key != "learner"})


class _Code:
    def __reduce__(self) -> Any:
        return print, ("this must not be printed",)


def test_code_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"kind": KIND, "format": 1, "state": _Code()}, tmp_path / "a.pt")
    with pytest.raises(MetamtlError, match="holds more than tensors"):
        metamtl.load_predictor(tmp_path / "a.pt")
    assert capsys.readouterr().out == ""


def test_no_damaged_file_gives_other_answers(tmp_path: Path) -> None:
    predictor, file = _adapted(), tmp_path / "a.pt"
    predictor.save(file)
    payload, (z, _) = file.read_bytes(), drawings(1, shots=1)
    answers, refused = predictor.predict(z).scores, 0
    for place in np.linspace(0, len(payload) - 1, 25).astype(int):
        file.write_bytes(payload[:place] + bytes([payload[place] ^ 255]) + payload[place + 1 :])
        try:
            np.testing.assert_array_equal(metamtl.load_predictor(file, device="cpu").predict(z).scores, answers)
        except MetamtlError as error:
            refused += "damaged" in str(error)
    assert refused > 5


def test_torn_and_other_files_are_refused(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    _adapted().save(good)
    payload = good.read_bytes()
    for content in (b"", payload[: len(payload) // 2], payload[:-100], b"no archive"):
        bad.write_bytes(content)
        with pytest.raises(MetamtlError, match="is refused: it is damaged"):
            metamtl.load_predictor(bad)
    torch.save({"learner": {}}, bad)
    with pytest.raises(MetamtlError, match="is no adapted model: `metamtl adapt RUN"):
        metamtl.load_predictor(bad)
    torch.save({"kind": KIND, "format": 0}, bad)
    with pytest.raises(MetamtlError, match="another version"):
        metamtl.load_predictor(bad)
    with pytest.raises(MetamtlError, match="Cannot read"):
        metamtl.load_predictor(tmp_path / "absent.pt")


@dataclass
class Unknown:
    x: int


def test_a_class_that_the_learner_does_not_have_is_refused() -> None:
    learner = made_model("protonet").parts.learner
    content = plain({"a": (1, [Unknown(2)])})
    torch.save(content, buffer := io.BytesIO())
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True) == content
    with pytest.raises(MetamtlError, match="'Unknown', which ProtoNet does not have"):
        restored(content, learner, torch.device("cpu"))
    with pytest.raises(TypeError, match="no object"):
        plain({"a": object()})
