"""WNUT 2017: rare and emerging entities of six types in messages, whose sources differ by split.

Derczynski, Nichols, van Erp & Limsopatham (2017), Results of the WNUT2017 Shared Task on Novel and Emerging Entity
Recognition, W-NUT. Training messages are from Twitter, those for validation from YouTube, those for testing from Stack
Exchange and Reddit.
"""

from __future__ import annotations

from typing import Any

from metamtl.data.examples import ExampleSource
from metamtl.data.places import folders
from metamtl.data.sentences import conll, file_texts, tagged
from metamtl.data.source import DataPaths, Split
from metamtl.data.tokens import tokeniser
from metamtl.registry import register

FILES: dict[Split, str] = {"train": "train.conll", "val": "dev.conll", "test": "test.conll"}
HOW = (
    "get wnut17train.conll, emerging.dev.conll and emerging.test.annotated of "
    "https://github.com/leondz/emerging_entities_17 and put them into a folder wnut17 there as "
    "train.conll, dev.conll and test.conll."
)


@register("data", "wnut17")
class WNUT17(ExampleSource):
    """Messages whose words are tagged (BIO), with the authors' splits."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        vocabulary: int | None,
        model: str | None = None,
        length: int = 105,
        labels: int | None = None,
        val_labels: int | None = None,
        root: str | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder that has the three files."""
        places = folders(paths, "wnut17", root, "wnut17")
        texts = file_texts(places, "wnut17", {str(split): file for split, file in FILES.items()}, HOW)
        splits = {split: conll(texts[split], file, word=0, tag=1) for split, file in FILES.items()}
        made = tagged(splits, tokeniser(model, vocabulary, length))
        facts: dict[str, Any] = {**made.pop("facts"), "licence": "CC BY 4.0"}
        super().__init__(name="wnut17", facts=facts, labels=labels, val_labels=val_labels, **made)
