"""CLINC150: 150 intents of 10 domains, 150 queries of each, and 1,200 queries that are none of them.

Larson et al. (2019), An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction, EMNLP. For few-shot
tasks the three files' parts are joined and the intents are divided; splits of the intents:

- `intents`: 50 for training, 50 for validation and 50 for testing, as many as Dopierre, Gravier & Logerais (2021),
  ProtAugment, ACL, take; drawn by a hash of the name and `seed`, since they draw five such at random.
- `domains`: whole domains, so that a test intent has no near relative in training: 75, 30 and 45 intents.

A query that two intents share is left with the later split (train, val, test).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from metamtl.data.classes import ClassSource
from metamtl.data.classfiles import example_range
from metamtl.data.content import content
from metamtl.data.identity import digest
from metamtl.data.official import Official
from metamtl.data.source import DataPaths, Split
from metamtl.data.store import ClassExamples, pack
from metamtl.data.tokens import Tokeniser, tokeniser, words_of
from metamtl.errors import MetamtlError
from metamtl.registry import register

FILES = Official(
    "clinc150",
    "https://raw.githubusercontent.com/clinc/oos-eval/master/data/",
    "sha256",
    {
        "data_full.json": "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0",
        "domains.json": "b947b579d3b8e74b06f93b01083d8efaff2888b43a3e362533bd88a6e1211b3a",
    },
    inner=("clinc150", "oos-eval/data", "clinc_oos"),
    max_bytes=10 * 2**20,  # the larger file has 2.5 MB
)
PARTS = ("train", "val", "test")
SIZES: Mapping[Split, int] = {"train": 50, "val": 50, "test": 50}
DOMAINS: Mapping[Split, Sequence[str]] = {
    "train": ("banking", "home", "travel", "utility", "small_talk"),
    "val": ("credit_cards", "auto_and_commute"),
    "test": ("kitchen_and_dining", "work", "meta"),
}

Queries = dict[str, list[str]]


@register("data", "clinc150")
class Clinc150(ClassSource):
    """Intents as classes; groups are domains. Queries are tokens, see `metamtl.data.tokens`."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        vocabulary: int | None,
        model: str | None = None,
        length: int = 32,
        split: Literal["intents", "domains"] = "intents",
        within_domain: bool = False,
        seed: int = 0,
        root: str | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder that has data_full.json and domains.json."""
        queries_file, domains_file = FILES.find_or_fetch(paths, root)
        cache = paths.cache.expanduser()
        domain_of = _domains(domains_file)
        splits = split_intents(domain_of, split, seed)
        tokens = tokeniser(model, vocabulary, length)
        counted: dict[str, int] = {}
        files = digest([content(file, cache) for file in (queries_file, domains_file)])
        packed = pack(
            cache,
            "clinc150",
            {**tokens.record, "splits": splits},
            files,
            lambda: _classes(queries_file, domain_of, splits, tokens, counted),
            counted,
        )
        super().__init__(
            name="clinc150",
            packed=packed,
            splits=splits,
            within_group=within_domain,
            preprocessing=dict(tokens.record),
            facts={
                "split": f"{split}, seed {seed}" if split == "intents" else split,
                "examples_per_class": example_range(packed),
                "copies": packed.facts["copies"],
                "texts_cut": packed.facts["texts_cut"],
                "licence": "CC BY 3.0",
            },
        )
        self._texts = digest("clinc150", files, splits, within_domain)
        self._tokens, self._file = tokens, queries_file

    def split_fingerprint(self, split: Split) -> str:
        """Of the queries and not of the numbers made of them: whatever reads them, the episodes are the same."""
        return digest(self._texts, split)

    def outside(self, split: Split) -> NDArray[Any]:
        """The queries out of scope: 100 for training, 100 for validation, 1,000 for testing."""
        texts = read_queries(self._file)[f"oos_{split}"]
        return self._tokens.encode([words_of(text) for every in texts.values() for text in every]).x


def split_intents(domain_of: Mapping[str, str], split: str, seed: int) -> dict[Split, list[str]]:
    """The intents of each split."""
    if split == "domains":
        return {part: [one for one, domain in domain_of.items() if domain in names] for part, names in DOMAINS.items()}
    # sorted by a hash and not shuffled, since numpy may change what a seed draws
    drawn = sorted(domain_of, key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest())
    ends = (SIZES["train"], SIZES["train"] + SIZES["val"])
    return {"train": drawn[: ends[0]], "val": drawn[ends[0] : ends[1]], "test": drawn[ends[1] :]}


def read_queries(file: Path) -> dict[str, Queries]:
    """Of each part (train, val, test, oos_train, oos_val, oos_test) the queries by intent."""
    try:
        listed: dict[str, list[list[str]]] = json.loads(file.read_text(encoding="utf-8"))
        found: dict[str, Queries] = {}
        for part in (*PARTS, *(f"oos_{part}" for part in PARTS)):
            found[part] = {}
            for text, intent in listed[part]:
                found[part].setdefault(intent, []).append(text)
    except (ValueError, KeyError, TypeError) as error:
        raise MetamtlError(
            f"{file} does not look like CLINC150: it must map {', '.join(PARTS)} and oos_train to oos_test to pairs of "
            "a query and its intent."
        ) from error
    return found


def _domains(file: Path) -> dict[str, str]:
    try:
        listed: dict[str, list[str]] = json.loads(file.read_text(encoding="utf-8"))
        found = {intent: domain for domain, intents in listed.items() for intent in intents}
    except (ValueError, AttributeError, TypeError) as error:
        raise MetamtlError(f"{file} does not look like CLINC150's: it must map domains to their intents.") from error
    if len(found) != sum(SIZES.values()):
        raise MetamtlError(f"{file} names {len(found)} intents, not the 150 of CLINC150.")
    return found


def _classes(
    file: Path,
    domain_of: Mapping[str, str],
    splits: Mapping[Split, Sequence[str]],
    tokens: Tokeniser,
    counted: dict[str, int],
) -> Iterator[ClassExamples]:
    """The intents with their queries, those for testing first; the earlier splits without the later ones' queries."""
    parts = read_queries(file)
    counted |= {"copies": 0, "texts_cut": 0}
    order: tuple[Split, ...] = ("test", "val", "train")
    later: set[str] = set()
    for split in order:
        mine: set[str] = set()
        for intent in splits[split]:
            texts = [text for part in PARTS for text in parts[part].get(intent, ())]
            if not texts:
                raise MetamtlError(f"{file} has no query of the intent '{intent}'.")
            kept = [text for text in texts if text.lower() not in later]
            mine |= {text.lower() for text in texts}
            encoded = tokens.encode([words_of(text) for text in kept])
            counted["copies"] += len(texts) - len(kept)
            counted["texts_cut"] += encoded.cut
            yield ClassExamples(intent, domain_of[intent], encoded.x)
        later |= mine
