"""CrossNER: entities in sentences of five domains, each with types of its own.

Liu et al. (2021), CrossNER: Evaluating Cross-Domain Named Entity Recognition, AAAI. Few-shot tasks come from whole
domains, so that those tested are unseen; a domain's three files are joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metamtl.data.places import folders
from metamtl.data.sentences import Sentence, conll, file_texts
from metamtl.data.source import DataPaths, Split
from metamtl.data.tagging_tasks import TaggingTasks
from metamtl.data.tokens import tokeniser
from metamtl.errors import UsageError
from metamtl.registry import register

DOMAINS = ("politics", "science", "music", "literature", "ai")
PARTS: Mapping[Split, str] = {"train": "train", "val": "dev", "test": "test"}
HOW = "git clone --depth 1 https://github.com/zliucr/CrossNER there, or copy its folder ner_data."
FACTS = {"licence": "MIT; sentences of Wikipedia CC BY-SA 3.0"}


@register("data", "crossner")
class CrossNER(TaggingTasks):
    """Tasks from the domains that each split lists."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        train: Sequence[str],
        val: Sequence[str],
        test: Sequence[str],
        vocabulary: int | None,
        model: str | None = None,
        length: int = 84,
        root: str | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder that has the domains' folders, or their zip."""
        listed: dict[Split, Sequence[str]] = {"train": train, "val": val, "test": test}
        every = [domain for domains in listed.values() for domain in domains]
        if len(set(every)) != len(every):
            raise UsageError("data.train, data.val and data.test: a domain may be in one of them alone, and once.")
        read = {domain: read_domain(paths, domain, root) for domain in every}
        super().__init__(
            name="crossner",
            splits={
                split: {domain: [one for part in read[domain].values() for one in part] for domain in domains}
                for split, domains in listed.items()
            },
            tokens=tokeniser(model, vocabulary, length),
            facts=dict(FACTS),
        )


def read_domain(paths: DataPaths, domain: str, root: str | None = None) -> dict[Split, list[Sentence]]:
    """The sentences of a domain's three files."""
    if domain not in DOMAINS:
        raise UsageError(f"'{domain}' is no domain of CrossNER; there are {', '.join(DOMAINS)}.")
    places = folders(paths, "crossner", root, "crossner", "CrossNER/ner_data", "ner_data")
    files = {split: f"{domain}/{part}.txt" for split, part in PARTS.items()}
    texts = file_texts(places, "crossner", {str(split): file for split, file in files.items()}, HOW)
    return {split: conll(texts[split], file, word=0, tag=1) for split, file in files.items()}
