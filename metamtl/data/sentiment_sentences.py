"""Sentiment labelled sentences: 1,000 of each of three domains, half of them positive.

Kotzias, Denil, de Freitas & Smyth (2015), From Group to Individual Labels using Deep Features, KDD. Sentences are
divided 60 / 20 / 20 by a hash of their words.
"""

from __future__ import annotations

from typing import Any, Literal

from metamtl.data.examples import ExampleSource
from metamtl.data.places import folders
from metamtl.data.sentences import Sentence, file_texts, labelled, split_of
from metamtl.data.source import DataPaths, Split
from metamtl.data.tokens import tokeniser, words_of
from metamtl.errors import MetamtlError
from metamtl.registry import register

FILES = {"amazon": "amazon_cells_labelled.txt", "imdb": "imdb_labelled.txt", "yelp": "yelp_labelled.txt"}
HOW = (
    "get https://archive.ics.uci.edu/static/public/331/sentiment+labelled+sentences.zip and unpack it into a folder "
    "sentiment_sentences there."
)
LABELS = {"0": "negative", "1": "positive"}


@register("data", "sentiment_sentences")
class SentimentSentences(ExampleSource):
    """Sentences of one `domain`, negative (0) or positive (1)."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        domain: Literal["amazon", "imdb", "yelp"],
        vocabulary: int | None,
        model: str | None = None,
        length: int = 96,
        labels: int | None = None,
        val_labels: int | None = None,
        root: str | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder that has the three files, or their zip."""
        places = folders(paths, "sentiment_sentences", root, "sentiment_sentences", "sentiment labelled sentences")
        text = file_texts(places, "sentiment_sentences", {"all": FILES[domain]}, HOW)["all"]
        splits: dict[Split, list[Sentence]] = {"train": [], "val": [], "test": []}
        # not by splitlines, which sees more ends of lines than this file has
        for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
            said, _, label = line.rpartition("\t")
            if label.strip() not in LABELS:
                raise MetamtlError(f"{FILES[domain]}, line {number}: no label 0 or 1 behind a tab.")
            words = tuple(words_of(said))
            splits[split_of(" ".join(words).lower())].append(Sentence(words, label=LABELS[label.strip()]))
        made = labelled(splits, tokeniser(model, vocabulary, length))
        facts: dict[str, Any] = {**made.pop("facts"), "domain": domain, "licence": "CC BY 4.0"}
        super().__init__(name=f"sentiment-{domain}", facts=facts, labels=labels, val_labels=val_labels, **made)
