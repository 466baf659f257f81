"""Which data is present, for `metamtl doctor`: found without the network and without opening an archive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from metamtl.data import (
    cifar_fs,
    clinc150,
    crossner,
    digit_files,
    fewrel,
    fsdd,
    hwu64_files,
    mini_imagenet,
    omniglot,
    pet_files,
    sentiment_sentences,
    snips,
    speech_commands,
    table_files,
    ud_pud,
    wnut17,
    xsid,
)
from metamtl.data.official import Official
from metamtl.data.places import UNNAMED, folders
from metamtl.data.source import DataPaths


@dataclass(frozen=True)
class Presence:
    """One data option: whether it can be used now, the files or what makes it, and how to get what is missing."""

    name: str
    present: bool
    where: tuple[Path, ...]  # empty for what is made and not read
    how: str  # what is missing and the exact command or address that gets it; where present, what it is


def presence(paths: DataPaths) -> list[Presence]:
    """Every data option that ships with metamtl, in the order of a first use."""
    return [
        Presence("glyphs", True, (), "drawn from the fonts that matplotlib ships"),
        Presence("sinusoid", True, (), "generated"),
        Presence("functions", True, (), "generated"),
        _official(omniglot.FILES, paths),
        _cifar_fs(paths),
        _mini_imagenet(paths),
        Presence("folder", True, (), "your own images: data=folder data.root=PATH"),
        *(_digits(domain, paths) for domain in digit_files.DOMAINS),
        *(
            _labelled(
                f"table data.set={name}", table_files.find(name, paths), table_files.missing(name, _folder(paths))
            )
            for name in table_files.TABLES
        ),
        _pets(paths),
        _labelled("fsdd", fsdd.find(paths), fsdd.missing(_folder(paths))),
        _speech_commands(paths),
        *_texts(paths),
        _torchmeta(),
    ]


def _texts(paths: DataPaths) -> Iterator[Presence]:
    """The sets of texts."""
    yield _official(clinc150.FILES, paths)
    yield _official(fewrel.FILES, paths)
    need = f"data=hwu64 needs its files under {_folder(paths)}: {hwu64_files.HOW}"
    yield _labelled("hwu64", hwu64_files.find(paths), need)
    for name, file, how in (
        ("snips", "AddToPlaylist/train_AddToPlaylist_full.json", snips.HOW),
        ("crossner", "politics/train.txt", crossner.HOW),
        ("wnut17", "train.conll", wnut17.HOW),
        ("xsid", "en.valid.conll", xsid.HOW),
        ("ud_pud", "en_pud-ud-test.conllu", ud_pud.HOW),
        ("sentiment_sentences", "yelp_labelled.txt", sentiment_sentences.HOW),
    ):
        yield _labelled(name, _texts_in(paths, name, file), f"data={name} needs {file} under {_folder(paths)}: {how}")


def _texts_in(paths: DataPaths, name: str, file: str) -> Path | None:
    """The file, or a zip archive in the set's own folder, unopened."""
    for place in folders(paths, name, None, name):
        if (place / file).is_file():
            return place / file
        if place.name == name and (archive := next(iter(sorted(place.glob("*.zip"))), None)) is not None:
            return archive
    return None


def _official(files: Official, paths: DataPaths) -> Presence:
    found = files.find(paths)
    where = tuple(place for place in found.values() if place is not None)
    missing = [f"{files.url}{name}" for name, place in found.items() if place is None]
    return _files(files.name, where, missing, paths)


def _cifar_fs(paths: DataPaths) -> Presence:
    where = tuple(cifar_fs.find(paths))
    return _files("cifar_fs", where, [] if where else [cifar_fs.URL], paths)


def _digits(domain: str, paths: DataPaths) -> Presence:
    name = f"digit_domain data.domain={domain}"
    return _labelled(name, digit_files.find(domain, paths), digit_files.missing(domain, _folder(paths)))


def _pets(paths: DataPaths) -> Presence:
    found = pet_files.find(paths, full=False)
    where = () if found is None else (found.photographs,)
    return _files("pets", where, [] if found else [f"{pet_files.URL}{name}" for name in pet_files.MD5], paths)


def _speech_commands(paths: DataPaths) -> Presence:
    found = speech_commands.find(paths)
    return _files("speech_commands", () if found is None else (found,), [] if found else [speech_commands.URL], paths)


def _labelled(name: str, found: Path | None, how: str) -> Presence:
    return Presence(name, False, (), how) if found is None else Presence(name, True, (found,), "read from your files")


def _files(name: str, where: tuple[Path, ...], missing: list[str], paths: DataPaths) -> Presence:
    if not missing:
        return Presence(name, True, where, "read from your files")
    how = f"downloaded on first use, metamtl train data={name}; or get {' and '.join(missing)} into {_folder(paths)}"
    return Presence(name, False, where, how)


def _folder(paths: DataPaths) -> str:
    """Where a person puts files, in every sentence that asks for some."""
    return UNNAMED if paths.data is None else str(paths.data)


def _mini_imagenet(paths: DataPaths) -> Presence:
    found = mini_imagenet.find(paths)
    if found is not None:
        return Presence("mini_imagenet", True, (found,), "read from your files")
    return Presence("mini_imagenet", False, (), mini_imagenet.missing(paths))


def _torchmeta() -> Presence:
    if find_spec("torchmeta") is not None:
        return Presence("torchmeta", True, (), "the torchmeta package is installed")
    command = "pip install 'metamtl[torchmeta]' && pip install --no-deps torchmeta==1.8.0 torchvision==0.28.0"
    return Presence("torchmeta", False, (), command)
