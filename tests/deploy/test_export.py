"""Exported programs on new inputs, in runtimes that know nothing of metamtl, and what their card says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import metamtl
from metamtl.deploy import card
from metamtl.deploy import export as exporting
from metamtl.deploy.export import export_embedding
from metamtl.errors import MetamtlError, UsageError
from tests.deploy.made import drawings, made_model
from tests.deploy.test_record import METHODS
from tests.trainer.runs import Runs

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'metamtl[export]'")
pytest.importorskip("onnxscript", reason="pip install 'metamtl[export]'")


def _ran(stem: Path, x: NDArray[Any]) -> list[tuple[NDArray[Any], ...]]:
    """The outputs of both forms of a program."""
    program = torch.export.load(stem.with_suffix(".pt2")).module()
    session = onnxruntime.InferenceSession(str(stem.with_suffix(".onnx")), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        return [tuple(one.numpy() for one in program(torch.from_numpy(x))), tuple(session.run(None, {"x": x}))]


@pytest.mark.parametrize("kind", ["protonet", "maml"])
def test_programs_answer_as_the_predictor_does(runs: Runs, kind: str, tmp_path: Path) -> None:
    run = runs.finished(kind)
    predictor = metamtl.load(run, device="cpu").adapt(*drawings(0, shots=2))
    predictor.export(tmp_path / "out")
    for count in (1, 3, 9):
        z = drawings(count, shots=3)[0][:count]
        live = predictor.predict(z)
        for probabilities, score in _ran(tmp_path / "out" / "predictor", z[:, None]):
            np.testing.assert_allclose(probabilities, live.probabilities, atol=1e-5)
            np.testing.assert_allclose(score, live.scores, rtol=1e-5, atol=1e-5)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert ("embedding.onnx" in names) == (kind == "protonet")
    written = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    result = json.loads((run / "result.json").read_text())
    accuracy = result["test"]["accuracy"]
    for said in (
        f"accuracy: {100 * accuracy['mean']:.2f}% ± {100 * accuracy['ci95']:.2f} over 20 episodes",
        result["episodes_id"],
        result["normalisation"],
        "class 0 (2), class 1 (2), class 2 (2)",
        "Licence of the data: not recorded",
        "Command: `",
        "predictor.onnx | probabilities, score |",
        "leave-one-out on 6 support examples",
    ):
        assert said in written
    assert ("let the queries of a task be normalised together" in written) == (kind == "maml")
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["classes"] == predictor.classes
    assert all(value <= 1e-5 for one in facts["programs"].values() for value in one["largest_difference"].values())
    assert sorted(tmp_path.iterdir()) == [tmp_path / "out"]


def test_the_card_names_the_alphabets_that_training_left_out() -> None:
    counts = {"train": 816, "val": 109, "test": 279}
    data = {"name": "omniglot", "classes": counts, "fingerprint": "f"}
    assert "- Left out: Hebrew, N_Ko" in card._data({"data": {**data, "without": ["Hebrew", "N_Ko"]}})
    assert not [line for line in card._data({"data": data}) if "Left out" in line]


def test_the_embedding_alone(tmp_path: Path) -> None:
    model = made_model("protonet")
    export_embedding(model, tmp_path / "out")
    x = drawings(1, shots=2)[0][:, None]
    with torch.no_grad():
        live = model.parts.learner.eval().network.query(model.parts.preparation.inputs(x), head=False).numpy()
    for (features,) in _ran(tmp_path / "out" / "embedding", x):
        np.testing.assert_allclose(features, live, rtol=1e-5, atol=1e-5)
    assert "was not tested before" in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def test_a_function_of_numbers(runs: Runs, tmp_path: Path) -> None:
    x = np.linspace(-3, 3, 7)
    regressor = metamtl.load(runs.finished("sinusoid"), device="cpu").regress(x, np.sin(x))
    regressor.export(tmp_path / "out")
    z = np.linspace(-2, 2, 5, dtype=np.float32)[:, None]
    for (values,) in _ran(tmp_path / "out" / "predictor", z):
        np.testing.assert_allclose(values, regressor.predict(z), atol=1e-5)
    assert "function fitted to a few points" in (tmp_path / "out" / "MODEL_CARD.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("algo", METHODS)
def test_every_method_is_exported(algo: str, tmp_path: Path) -> None:
    predictor = made_model(algo).adapt(*drawings(0, shots=2))
    predictor.export(tmp_path / "out")
    z, _ = drawings(1, shots=2)
    for probabilities, _ in _ran(tmp_path / "out" / "predictor", z[:, None]):
        np.testing.assert_allclose(probabilities, predictor.predict(z).probabilities, atol=1e-5)


def test_what_cannot_be_exported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawings(0, shots=2)
    together = made_model("maml").adapt(x, y, transductive=True)
    with pytest.raises(UsageError, match="normalises the examples that are predicted together"):
        together.export(tmp_path / "out")
    with pytest.raises(UsageError, match="algo=maml has nothing to export before it has adapted"):
        export_embedding(made_model("maml"), tmp_path / "out")
    with pytest.raises(UsageError, match="nothing to export before it has adapted"):
        export_embedding(made_model("protonet", "backbone.norm=batch"), tmp_path / "out")
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        export_embedding(made_model("protonet"), tmp_path / "taken")
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(MetamtlError, match=r"needs onnx: pip install 'metamtl\[export\]'"):
        export_embedding(made_model("protonet"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_program_that_disagrees_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    difference = exporting._difference
    monkeypatch.setattr(exporting, "_difference", lambda found, live: difference(found * 1.001, live))
    with pytest.raises(MetamtlError, match="differs from the live model by"):
        export_embedding(made_model("protonet"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
