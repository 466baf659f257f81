"""Which families an update is made of, where it does not take all: drawn by their sizes, as a function of the step.

A family of n training examples has a chance in proportion to n, to 1, or to n^(1 / temperature) (Arivazhagan et al.
2019, Massively Multilingual Neural Machine Translation in the Wild, section 4). Without replacement, by the keys of
Efraimidis & Spirakis (2006), Weighted random sampling with a reservoir, Information Processing Letters 97. Or any
subset of two families at least is drawn, all subsets alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import comb
from typing import Any

import numpy as np

from metamtl.data.random import key_of, uniform
from metamtl.data.source import MinibatchSource, Source
from metamtl.errors import UsageError


class Mixing:
    """`least` families an update, with the `shares` [F] of a draw; or `upwards` of that, as a subset of all."""

    def __init__(self, shares: Mapping[str, float], least: int, seed: int, upwards: bool = False) -> None:
        self.names, self.least, self.most = list(shares), least, len(shares) if upwards else least
        self.shares, self.key = np.array(list(shares.values())), key_of("mixing", seed)
        counts = [comb(len(self.names), size) for size in range(least, self.most + 1)]
        self._ends = np.cumsum(counts, dtype=np.float64) / sum(counts)  # of the shares of sizes from `least` upwards

    def drawn(self, step: int) -> list[str]:
        """The families of an update, in their own order."""
        waits = -np.log1p(-uniform(self.key, step, np.arange(len(self.names)))) / self.shares
        size = self.least + np.searchsorted(self._ends, uniform(self.key, step, len(self.names)), side="right")
        return [self.names[at] for at in np.sort(np.argsort(waits, kind="stable")[:size])]


def mixing_of(options: Mapping[str, Any], sources: Mapping[str, Source], seed: int) -> Mixing:
    """The mixing that the section `mixing` asks for; UsageError where the families cannot be mixed so."""
    subsets = options["rule"] == "subsets"
    take: int = options["take"] or (min(2, len(sources)) if subsets else len(sources))
    if take > len(sources):
        raise UsageError(f"mixing.take={take}: there are {len(sources)} families.")
    if subsets or options["rule"] == "equal" or take == len(sources):
        return Mixing(dict.fromkeys(sources, 1.0), take, seed, upwards=subsets)
    temperature = options["temperature"] if options["rule"] == "temperature" else 1.0
    return Mixing({name: _size(name, source) ** (1 / temperature) for name, source in sources.items()}, take, seed)


def _size(name: str, source: Source) -> int:
    if not isinstance(source, MinibatchSource):
        raise UsageError(
            f"families.{name}: {source.name} makes tasks and has no size to draw by: take mixing.rule=equal."
        )
    return len(source.items("train"))
