"""SNIPS: seven intents of a voice assistant and the slots of their queries.

Coucke et al. (2018), Snips Voice Platform: an embedded Spoken Language Understanding system for private-by-design voice
interfaces, arXiv:1805.10190, section 5; its crowdsourced set of June 2017. The authors' validation queries (100 an
intent) are for testing, as in Goo et al. (2018), Slot-Gated Modeling, NAACL; 100 training queries of each intent, the
first by a hash of their words, are for validation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Literal

from metamtl.data.examples import ExampleSource
from metamtl.data.places import folders
from metamtl.data.sentences import Sentence, file_texts, labelled, tagged
from metamtl.data.source import DataPaths, Split
from metamtl.data.tokens import tokeniser, words_of
from metamtl.errors import MetamtlError
from metamtl.registry import register

INTENTS = (
    "AddToPlaylist",
    "BookRestaurant",
    "GetWeather",
    "PlayMusic",
    "RateBook",
    "SearchCreativeWork",
    "SearchScreeningEvent",
)
VALIDATION = 100  # queries of each intent
HOW = (
    "git clone --depth 1 https://github.com/sonos/nlu-benchmark there, or copy its folder "
    "2017-06-custom-intent-engines, as it is or zipped."
)


@register("data", "snips")
class Snips(ExampleSource):
    """`target` is what is asked of a query: its intent, or the slot of each word (BIO tags)."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        target: Literal["intent", "slots"],
        vocabulary: int | None,
        model: str | None = None,
        length: int = 40,
        labels: int | None = None,
        val_labels: int | None = None,
        root: str | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder that has the intents' folders, or their zip."""
        splits = read_snips(paths, root)
        tokens = tokeniser(model, vocabulary, length)
        made = tagged(splits, tokens) if target == "slots" else labelled(splits, tokens)
        facts: dict[str, Any] = {**made.pop("facts"), "target": target, "licence": "CC0 1.0"}
        super().__init__(name=f"snips-{target}", facts=facts, labels=labels, val_labels=val_labels, **made)


def read_snips(paths: DataPaths, root: str | None = None) -> dict[Split, list[Sentence]]:
    """The queries of each split with intent and slots."""
    places = folders(paths, "snips", root, "snips", "2017-06-custom-intent-engines", "nlu-benchmark")
    files = {("train", one): f"{one}/train_{one}_full.json" for one in INTENTS}
    files |= {("test", one): f"{one}/validate_{one}.json" for one in INTENTS}
    texts = file_texts(places, "snips", {"/".join(key): end for key, end in files.items()}, HOW)
    splits: dict[Split, list[Sentence]] = {"train": [], "val": [], "test": []}
    for part, intent in files:
        queries = list(_queries(texts[f"{part}/{intent}"], intent, files[part, intent]))
        if part == "test":
            splits["test"] += queries
            continue
        ordered = sorted(queries, key=lambda query: hashlib.sha256(" ".join(query.words).lower().encode()).digest())
        splits["val"] += ordered[:VALIDATION]
        splits["train"] += ordered[VALIDATION:]
    return splits


def _queries(text: str, intent: str, where: str) -> Iterator[Sentence]:
    try:
        for query in json.loads(text)[intent]:
            words: list[str] = []
            tags: list[str] = []
            for chunk in query["data"]:
                found, slot = words_of(chunk["text"]), chunk.get("entity")
                words += found
                tags += [f"{'I' if at else 'B'}-{slot}" if slot else "O" for at in range(len(found))]
            yield Sentence(tuple(words), tuple(tags), intent)
    except (ValueError, KeyError, TypeError) as error:
        raise MetamtlError(
            f"{where} does not look like SNIPS: it must map '{intent}' to queries of text chunks ({error})."
        ) from error
