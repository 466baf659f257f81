"""FewRel: which relation two marked entities of a sentence stand in.

Han et al. (2018), FewRel, EMNLP, and for testing the biomedical relations of Gao et al. (2019), FewRel 2.0, EMNLP. Of
the files that may be passed on, the 16 relations of val_wiki.json are divided here into 10 for training and 6 for
validation, by a hash of the relation and `seed`; the 10 of val_pubmed.json are for testing. The published figures train
on 64 other relations, so they are no measure for these splits. Entities stand between marks of their own, as in Baldini
Soares et al. (2019), Matching the Blanks, ACL, section 3.2. A sentence that two splits share stays with the later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metamtl.data.classes import ClassSource
from metamtl.data.classfiles import example_range
from metamtl.data.content import content
from metamtl.data.identity import digest
from metamtl.data.official import Official
from metamtl.data.source import DataPaths, Split
from metamtl.data.store import ClassExamples, pack
from metamtl.data.tokens import Tokeniser, tokeniser
from metamtl.errors import MetamtlError
from metamtl.registry import register

FILES = Official(
    "fewrel",
    "https://raw.githubusercontent.com/thunlp/FewRel/master/data/",
    "sha256",
    {
        "val_wiki.json": "76bb44c2485b6faed358a3ce040eadafcc8a8835245cd7e6afc1bef672d4a0bf",
        "val_pubmed.json": "fc0f13b534f6664fe0d8aec231d7590313bc6510d00dbc1b6746147f6a2b46e6",
    },
    inner=("fewrel", "FewRel/data"),
    max_bytes=20 * 2**20,  # the larger file has 3.5 MB
)
TRAINING = 10  # of the relations of val_wiki.json
MARKS = {"h": ("[h", "h]"), "t": ("[t", "t]")}  # before and behind the head and the tail entity

Instances = Mapping[str, Sequence[Mapping[str, Any]]]


@register("data", "fewrel")
class FewRel(ClassSource):
    """Relations as classes, sentences as tokens, see `metamtl.data.tokens`."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        vocabulary: int | None,
        model: str | None = None,
        length: int = 64,
        seed: int = 0,
        root: str | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder that has val_wiki.json and val_pubmed.json."""
        wiki_file, pubmed_file = FILES.find_or_fetch(paths, root)
        cache = paths.cache.expanduser()
        tokens = tokeniser(model, vocabulary, length)
        wiki, pubmed = _read(wiki_file), _read(pubmed_file)
        splits = split_relations(wiki, pubmed, seed)
        counted: dict[str, int] = {}
        files = digest([content(file, cache) for file in (wiki_file, pubmed_file)])
        packed = pack(
            cache,
            "fewrel",
            {**tokens.record, "splits": splits, "marks": MARKS},
            files,
            lambda: _classes({**wiki, **pubmed}, splits, tokens, counted),
            counted,
        )
        super().__init__(
            name="fewrel",
            packed=packed,
            splits=splits,
            preprocessing={**tokens.record, "marks": {name: list(mark) for name, mark in MARKS.items()}},
            facts={
                "split": f"val_wiki 10/6, seed {seed}; val_pubmed",
                "examples_per_class": example_range(packed),
                "copies": packed.facts["copies"],
                "texts_cut": packed.facts["texts_cut"],
                "licence": "MIT; sentences of Wikipedia CC BY-SA 3.0",
            },
        )
        self._texts = digest("fewrel", files, splits)

    def split_fingerprint(self, split: Split) -> str:
        """Of the sentences and not of the numbers made of them: whatever reads them, the episodes are the same."""
        return digest(self._texts, split)


def split_relations(wiki: Instances, pubmed: Instances, seed: int) -> dict[Split, list[str]]:
    """The relations of each split."""
    drawn = sorted(wiki, key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest())
    return {"train": drawn[:TRAINING], "val": drawn[TRAINING:], "test": list(pubmed)}


def marked(instance: Mapping[str, Any], length: int) -> list[str]:
    """The words with marks around both entities; of a longer sentence, `length` words around them."""
    spans = [(name, min(instance[name][2][0]), max(instance[name][2][0])) for name in MARKS]
    words: list[str] = []
    for at, word in enumerate(instance["tokens"]):
        words += [MARKS[name][0] for name, first, _ in spans if at == first]
        words.append(word)
        words += [MARKS[name][1] for name, _, last in reversed(spans) if at == last]
    marks = [at for at, word in enumerate(words) if any(word in pair for pair in MARKS.values())]
    first = max(0, min((marks[0] + marks[-1] + 1 - length) // 2, len(words) - length))
    return words[first:]


def _read(file: Path) -> Instances:
    try:
        found: Instances = json.loads(file.read_text(encoding="utf-8"))
        for instances in found.values():
            for one in instances:
                _ = one["tokens"], one["h"][2][0][0], one["t"][2][0][0]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise MetamtlError(
            f"{file} does not look like FewRel: it must map relations to instances with tokens, h and t."
        ) from error
    return found


def _classes(
    instances: Instances, splits: Mapping[Split, Sequence[str]], tokens: Tokeniser, counted: dict[str, int]
) -> Iterator[ClassExamples]:
    """The relations with their sentences, those for testing first; the earlier splits without the later ones'."""
    counted |= {"copies": 0, "texts_cut": 0}
    order: tuple[Split, ...] = ("test", "val", "train")
    later: set[str] = set()
    for split in order:
        mine: set[str] = set()
        for relation in splits[split]:
            sentences = [" ".join(one["tokens"]).lower() for one in instances[relation]]
            kept = [one for one, text in zip(instances[relation], sentences, strict=True) if text not in later]
            counted["copies"] += len(sentences) - len(kept)
            mine |= set(sentences)
            encoded = tokens.encode([marked(one, tokens.length) for one in kept])
            longer = sum(len(one["tokens"]) + 2 * len(MARKS) > tokens.length for one in kept)
            counted["texts_cut"] += max(longer, encoded.cut)
            yield ClassExamples(relation, split, encoded.x)
        later |= mine
