"""`metamtl adapt`, `predict` and `export` as they are typed, on folders of pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from metamtl.cli import main
from metamtl.deploy.record import load_predictor
from metamtl.runs.files import read_json, write_json
from tests.data.image_files import png, unpacked
from tests.deploy.made import drawings
from tests.trainer.runs import Runs, shared_runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return shared_runs(tmp_path_factory.getbasetemp())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `support` of three classes and `query` of their other pictures."""
    for name, seed, shots in (("support", 0, 2), ("query", 1, 3)):
        x, classes = drawings(seed, shots)
        unpacked(tmp_path / name, {f"{one}/{n}.png": png(x[n]) for n, one in enumerate(classes)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_from_folders_to_a_table_and_again_from_the_saved_model(
    runs: Runs, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(runs.finished("protonet"))
    words = ["adapt", run, "--support", "support", "--predict", "query", "-o", "a.csv", "--save", "model.pt"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"model      {Path(run).name}: protonet on folder, seed 0, best weights of step " in said
    assert "leave-one-out on 6 support examples" in said
    assert "classes    3: class 0, class 1, class 2" in said
    assert "a.csv: 9 pictures" in said
    rows = _rows(place / "a.csv")
    assert list(rows[0]) == ["path", "label", "probability", "unknown", "class 0", "class 1", "class 2"]
    for row in rows:
        shares = {name: float(row[name]) for name in ("class 0", "class 1", "class 2")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-8)
        assert row["label"] == max(shares, key=shares.__getitem__) == Path(row["path"]).parent.name
        assert float(row["probability"]) == max(shares.values())
        assert row["unknown"] in ("true", "false")
    assert main(["predict", "model.pt", "query", "-o", "b.csv"]) == 0
    assert (place / "b.csv").read_bytes() == (place / "a.csv").read_bytes()
    one = "query/class 1/3.png"
    assert main(["predict", "model.pt", one, "-o", "b.csv", "--overwrite"]) == 0
    assert [row["path"] for row in _rows(place / "b.csv")] == [one]


def test_what_validation_chose_is_used_and_said(runs: Runs, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs.copy(runs.finished("maml"), place)
    result = read_json(run / "result.json")
    write_json(run / "result.json", {**result, "choices": [{"options": {"test_steps": 0}}]})
    assert main(["adapt", str(run), "--support", "support", "--save", "model.pt"]) == 0
    assert "choice     test_steps 0, the best on validation" in capsys.readouterr().out
    assert load_predictor("model.pt").adapted.parts.config["algo"]["test_steps"] == 0


def test_a_threshold_flags_and_a_class_may_be_named_as_a_column(runs: Runs, place: Path) -> None:
    (place / "support" / "class 0").rename(place / "support" / "label")
    words = ["adapt", str(runs.finished("protonet")), "--support", "support", "--predict", "query"]
    for threshold, unknown in (("1e9", "true"), ("-1000000", "false"), ("off", "false")):
        assert main([*words, "-o", "a.csv", "--threshold", threshold, "--overwrite"]) == 0
        rows = _rows(place / "a.csv")
        assert {row["unknown"] for row in rows} == {unknown}
        assert "label" in {row["label"] for row in rows}
        assert "label (class)" in rows[0]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("empty class", 2, "The class folder support/empty has no picture"),
        ("one class", 2, "support has one class folder, class 0"),
        ("loose picture", 2, "support/loose.png lies in no class folder"),
        ("no support", 2, "support is no folder"),
        ("damaged support", 1, "The image support/class 1/bad.png cannot be read"),
        ("damaged query", 1, "The image query/bad.png cannot be read"),
        ("empty query", 2, "query has no picture"),
        ("output there", 2, "a.csv exists already: choose another name, or add --overwrite"),
        ("no weights", 1, "has no checkpoints/best.pt"),
        ("no run", 1, "is not a run folder"),
        ("too many ways", 2, "has learnt a head for 3 ways, and the support has 4 classes"),
        ("no pictures learnt", 2, "did not learn to classify pictures"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_and_nothing_is_written(
    change: str, code: int, said: str, runs: Runs, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {"too many ways": "maml", "no pictures learnt": "sinusoid"}
    run = runs.copy(runs.finished(kinds.get(change, "protonet")), place)
    _spoil(change, place, run)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    words = ["adapt", str(run), "--support", "support", "--predict", "query", "-o", "a.csv", "--save", "b.pt"]
    if change.startswith("damaged query"):
        words = words[:-2]
    assert main(words) == code
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def _spoil(change: str, place: Path, run: Path) -> None:
    support, query = place / "support", place / "query"
    if change == "empty class":
        (support / "empty").mkdir()
    elif change in ("one class", "no support", "empty query"):
        for folder in {"one class": ("class 1", "class 2"), "no support": ("class 0", "class 1", "class 2")}.get(
            change, ()
        ):
            for file in (support / folder).iterdir():
                file.unlink()
            (support / folder).rmdir()
        if change == "no support":
            support.rmdir()
        if change == "empty query":
            for file in query.rglob("*.png"):
                file.unlink()
    elif change == "loose picture":
        (support / "class 0" / "0.png").rename(support / "loose.png")
    elif change.startswith("damaged"):
        (query / "bad.png" if change == "damaged query" else support / "class 1" / "bad.png").write_text("no picture")
    elif change == "output there":
        (place / "a.csv").write_text("precious")
    elif change == "no weights":
        for file in run.glob("checkpoints/*best*"):
            file.unlink()
    elif change == "no run":
        (run / "meta.json").unlink()
    elif change == "too many ways":
        unpacked(support, {"more/0.png": png(np.zeros((16, 16), dtype=np.uint8))})


def test_damaged_pictures_can_be_left_out(runs: Runs, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "query" / "bad.png").write_text("no picture")
    words = ["adapt", str(runs.finished("protonet")), "--support", "support", "--predict", "query", "-o", "a.csv"]
    assert main([*words, "--on-bad", "skip"]) == 0
    heard = capsys.readouterr()
    assert "1 damaged ones left out" in heard.out
    assert "query/bad.png cannot be read" in heard.err
    assert len(_rows(place / "a.csv")) == 9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["adapt"], "the following arguments are required"),
        (["adapt", "RUN", "--support", "support"], "nothing to do"),
        (["adapt", "RUN", "--support", "support", "--predict", "query"], "go together"),
        (["adapt", "RUN", "--support", "support", "--save", "a.pt", "--threshold", "high"], "--threshold"),
        (["predict", "model.pt", "query"], "-o/--output"),
        (["predict", "model.pt", "absent", "-o", "a.csv"], "absent does not exist"),
        (["export", "RUN", "-o", "support"], "support exists already"),
        (["export", "RUN", "--suport", "support", "-o", "x"], "--suport"),
    ],
)
def test_wrong_words(words: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_export_refuses_what_needs_a_support_set(runs: Runs, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", reason="pip install 'metamtl[export]'")
    assert main(["export", str(runs.finished("maml")), "-o", "out"]) == 2
    assert "give --support DIR" in capsys.readouterr().err
    assert not (place / "out").exists()
