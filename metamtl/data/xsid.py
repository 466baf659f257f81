"""xSID: the same requests in many languages, with intents and slots.

van der Goot et al. (2021), From Masked Language Modeling to Translation: Non-English Auxiliary Tasks Improve Zero-shot
Spoken Language Understanding, NAACL; version 0.7. Its English training file is large and not part of what is read here:
of a language's validation file four fifths are for training and the rest, the last in order, for validation, so that a
few requests of a language are learnt from; its test file is for testing. The file `no` has each request in eleven
dialects, so that what it validates on is not new to it.
"""

from __future__ import annotations

from typing import Any, Literal

from metamtl.data.examples import ExampleSource
from metamtl.data.places import folders
from metamtl.data.sentences import Sentence, conll, file_texts, labelled, tagged
from metamtl.data.source import DataPaths, Split
from metamtl.data.tokens import tokeniser
from metamtl.registry import register

HOW = "git clone --depth 1 https://github.com/mainlp/xsid there, or copy its folder data/xSID-0.7, as it is or zipped."


@register("data", "xsid")
class XSID(ExampleSource):
    """`target` is what is asked of a request in `language`: its intent, or the slot of each word (BIO tags).

    The classes are those of English beside the language's own, so that one head serves a network that goes from one
    language to another; the slots of Arabic and Turkish alone have one more, reference-part.
    """

    def __init__(
        self,
        *,
        paths: DataPaths,
        target: Literal["intent", "slots"],
        language: str,
        vocabulary: int | None,
        model: str | None = None,
        length: int = 32,
        labels: int | None = None,
        val_labels: int | None = None,
        root: str | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder that has the languages' files, or their zip."""
        places = folders(paths, "xsid", root, "xsid", "xsid/data/xSID-0.7", "xSID-0.7")
        files = {part: f"{language}.{part}.conll" for part in ("valid", "test")}
        texts = file_texts(places, "xsid", {**files, "all": "en.valid.conll", "more": "en.test.conll"}, HOW)
        read = {name: conll(text, files.get(name, "en"), 1, 3, "intent") for name, text in texts.items()}
        held = len(read["valid"]) * 4 // 5
        splits: dict[Split, list[Sentence]] = {
            "train": read["valid"][:held],
            "val": read["valid"][held:],
            "test": read["test"],
        }
        tokens = tokeniser(model, vocabulary, length)
        known = [*read["all"], *read["more"]]
        made = tagged(splits, tokens, known=known) if target == "slots" else labelled(splits, tokens, known=known)
        facts: dict[str, Any] = {**made.pop("facts"), "target": target, "language": language, "licence": "CC BY-SA 4.0"}
        name = f"xsid-{language}-{target}"
        super().__init__(name=name, facts=facts, labels=labels, val_labels=val_labels, **made)
