"""HWU64: requests to a home assistant, with 64 intents in 18 scenarios and their slots.

Liu, Eshghi, Swietojanski & Rieser (2019), Benchmarking Natural Language Understanding Services for building
Conversational Agents, IWSDS. The authors' first fold is the test split; a tenth of the rest, the first by a hash of
their words, is for validation.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

from metamtl.data import hwu64_files
from metamtl.data.examples import ExampleSource
from metamtl.data.hwu64_files import Request
from metamtl.data.sentences import Sentence, labelled, tagged
from metamtl.data.source import DataPaths, Split
from metamtl.data.tokens import tokeniser, words_of
from metamtl.registry import register

Target = Literal["intent", "scenario", "slots"]
_SLOT = re.compile(r"\[\s*(?P<slot>[^\]:]+?)\s*:\s*(?P<value>[^\]]*?)\s*\]")


@register("data", "hwu64")
class HWU64(ExampleSource):
    """`target` is what is asked of a request: its intent, its scenario, or the slot of each word (BIO tags)."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        target: Target,
        vocabulary: int | None,
        model: str | None = None,
        length: int = 32,
        labels: int | None = None,
        val_labels: int | None = None,
        root: str | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder that has the repository, its zip, or train.csv and test.csv."""
        rows = hwu64_files.read(paths, root)
        read = {part: [_sentence(row, target) for row in of] for part, of in rows.items()}
        ordered = sorted(read["train"], key=lambda one: hashlib.sha256(" ".join(one.words).lower().encode()).digest())
        held = len(ordered) // 10
        splits: dict[Split, list[Sentence]] = {"train": ordered[held:], "val": ordered[:held], "test": read["test"]}
        tokens = tokeniser(model, vocabulary, length)
        made = tagged(splits, tokens) if target == "slots" else labelled(splits, tokens)
        facts: dict[str, Any] = {**made.pop("facts"), "target": target, "licence": "CC BY 4.0"}
        super().__init__(name=f"hwu64-{target}", facts=facts, labels=labels, val_labels=val_labels, **made)


def slots_of(annotated: str) -> tuple[list[str], list[str]]:
    """Words and BIO tags of a request such as `wake me at [time : nine am]`."""
    words: list[str] = []
    tags: list[str] = []
    at = 0
    for slot in _SLOT.finditer(annotated):
        before, inside = words_of(annotated[at : slot.start()]), words_of(slot["value"])
        words += before + inside
        tags += ["O"] * len(before) + [f"{'I' if n else 'B'}-{slot['slot']}" for n in range(len(inside))]
        at = slot.end()
    rest = words_of(annotated[at:])
    return words + rest, tags + ["O"] * len(rest)


def _sentence(row: Request, target: Target) -> Sentence:
    words, tags = slots_of(row.annotated)
    label = row.scenario if target == "scenario" else f"{row.scenario}_{row.intent}"
    return Sentence(tuple(words), tuple(tags), label)
