import socket
from pathlib import Path
from typing import Any

import pytest

from metamtl.data.presence import presence
from metamtl.data.source import DataPaths
from tests.data.image_files import real


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("doctor must not use the network")

    monkeypatch.setattr(socket, "create_connection", refuse)


def test_nothing_present(tmp_path: Path) -> None:
    found = {one.name: one for one in presence(DataPaths(None, tmp_path))}
    for name in ("omniglot", "cifar_fs", "mini_imagenet"):
        assert not found[name].present and "https://" in found[name].how
    assert found["glyphs"].present and found["sinusoid"].present
    labelled = [name for name in found if name.partition(" ")[0] in ("digit_domain", "table", "pets", "fsdd")]
    assert len(labelled) == 11 and not any(found[name].present for name in labelled)
    assert all("https://" in found[name].how or "http://" in found[name].how for name in labelled)


def test_every_sentence_says_where_files_go(tmp_path: Path) -> None:
    """A command that ends in `there`, and a folder called `its`, are of one that the same sentence names."""
    for data, where in ((None, "the folder that you name as paths.data"), (tmp_path, str(tmp_path))):
        for found in presence(DataPaths(data, tmp_path / "cache")):
            if not found.present and found.name != "torchmeta":
                known = f"{tmp_path / 'cache'}" if found.name == "mini_imagenet" and data is None else where
                assert known in found.how, found.how
                assert " or get" not in found.how or f"metamtl train data={found.name}" in found.how
                addresses = [word for word in found.how.replace("(", " ").split() if word.endswith((".gz", ".gz)"))]
                assert all(word.startswith("http") for word in addresses), found.how


TEXTS = ("snips", "hwu64", "crossner", "wnut17", "xsid", "ud_pud", "sentiment_sentences", "clinc150", "fewrel")


def test_texts_are_found_as_files_and_as_archives(tmp_path: Path) -> None:
    before = {one.name: one for one in presence(DataPaths(tmp_path, tmp_path / "cache"))}
    assert all(not before[name].present and "https://" in before[name].how for name in TEXTS)
    for name in ("snips/any.zip", "hwu64/train.csv", "hwu64/test.csv", "other.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = {one.name: one for one in presence(DataPaths(tmp_path, tmp_path / "cache"))}
    assert [name for name in TEXTS if found[name].present] == ["snips", "hwu64"]
    assert found["snips"].where == (tmp_path / "snips" / "any.zip",)


def test_half_of_omniglot_names_the_other_half(tmp_path: Path) -> None:
    (tmp_path / "images_background.zip").write_bytes(b"")
    found = {one.name: one for one in presence(DataPaths(tmp_path, tmp_path / "cache"))}["omniglot"]
    assert not found.present and found.where == (tmp_path / "images_background.zip",)
    assert "images_evaluation.zip" in found.how and "images_background.zip" not in found.how


def test_real_data_is_found() -> None:
    base = real("omniglot").parent
    found = {one.name: one for one in presence(DataPaths(base, base / "absent"))}
    assert found["omniglot"].present and len(found["omniglot"].where) == 2
    assert found["cifar_fs"].present
    for name in ("digit_domain data.domain=semeion", "table data.set=parkinsons", "pets", "fsdd", "speech_commands"):
        assert found[name].present and len(found[name].where) == 1
    assert all(found[name].present for name in TEXTS)
