"""One domain of CrossNER (Liu et al. 2021, AAAI) with its own three files as splits: ordinary labelled sentences."""

from __future__ import annotations

from typing import Any

from metamtl.data.crossner import FACTS, read_domain
from metamtl.data.examples import ExampleSource
from metamtl.data.sentences import tagged
from metamtl.data.source import DataPaths
from metamtl.data.tokens import tokeniser
from metamtl.registry import register


@register("data", "crossner_domain")
class CrossNERDomain(ExampleSource):
    """One domain with its own splits, as ordinary labelled sentences."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        domain: str,
        vocabulary: int | None,
        model: str | None = None,
        length: int = 84,
        labels: int | None = None,
        val_labels: int | None = None,
        root: str | None = None,
    ) -> None:
        """`root` as CrossNER has it."""
        made = tagged(read_domain(paths, domain, root), tokeniser(model, vocabulary, length))
        facts: dict[str, Any] = {**made.pop("facts"), **FACTS, "domain": domain}
        super().__init__(name=f"crossner-{domain}", facts=facts, labels=labels, val_labels=val_labels, **made)
