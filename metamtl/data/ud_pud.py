"""Parallel Universal Dependencies: the same 1,000 sentences in several languages, each word with its part of speech.

Zeman et al. (2017), CoNLL 2017 Shared Task: Multilingual Parsing from Raw Text to Universal Dependencies, CoNLL. There
are test files only: sentences are divided 60 / 20 / 20 by a hash of their identifier, which is the same in every
language, so that no sentence is trained on in one language and tested in another.
"""

from __future__ import annotations

from typing import Any

from metamtl.data.examples import ExampleSource
from metamtl.data.places import folders
from metamtl.data.sentences import Sentence, conll, file_texts, split_of, tagged
from metamtl.data.source import DataPaths, Split
from metamtl.data.tokens import tokeniser
from metamtl.registry import register

ADDRESSES = tuple(
    f"https://github.com/UniversalDependencies/UD_{language}-PUD"
    for language in ("English", "German", "French", "Spanish", "Turkish", "Hindi")
)
HOW = f"get LANGUAGE_pud-ud-test.conllu (en, de, fr, es, tr, hi) into a folder ud_pud there, of {', '.join(ADDRESSES)}."
PARTS_OF_SPEECH = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM"),
    *("PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X", "_"),
)  # the 17 universal ones, and that of words which have none


@register("data", "ud_pud")
class UDPUD(ExampleSource):
    """Sentences of one `language`, such as `en`, whose words are tagged with their part of speech."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        language: str,
        vocabulary: int | None,
        model: str | None = None,
        length: int = 80,
        labels: int | None = None,
        val_labels: int | None = None,
        root: str | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder that has the languages' files, or their zip."""
        file = f"{language}_pud-ud-test.conllu"
        texts = file_texts(folders(paths, "ud_pud", root, "ud_pud"), "ud_pud", {"all": file}, HOW)
        splits: dict[Split, list[Sentence]] = {"train": [], "val": [], "test": []}
        for sentence in conll(texts["all"], file, word=1, tag=3, label="sent_id"):
            splits[split_of(sentence.label)].append(sentence)
        made = tagged(splits, tokeniser(model, vocabulary, length), tags=PARTS_OF_SPEECH)
        facts: dict[str, Any] = {**made.pop("facts"), "language": language, "licence": "CC BY-SA 3.0"}
        super().__init__(name=f"ud_pud-{language}", facts=facts, labels=labels, val_labels=val_labels, **made)
