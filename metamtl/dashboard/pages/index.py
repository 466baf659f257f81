"""Which page makes the blocks of a view."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from metamtl.dashboard.blocks import Block, Text
from metamtl.dashboard.pages import compare, curves, related, run, runs, search
from metamtl.dashboard.view import View
from metamtl.dashboard.watch import Snapshot

_PAGES: Mapping[str, Callable[[Snapshot, View], list[Block]]] = {
    "runs": runs.page,
    "curves": curves.page,
    "search": search.page,
    "compare": compare.page,
    "related": related.page,
    "run": run.page,
}


def blocks_of(snapshot: Snapshot, view: View) -> list[Block]:
    """The blocks of a view, before them what is wrong with its filter; of an unknown page a sentence."""
    if view.page not in _PAGES:
        return [Text(f"There is no such page; there are {', '.join(_PAGES)}.", "warning")]
    problem = snapshot.shown(view.where).problem
    warned: list[Block] = [Text(f"The filter is left out. {problem}", "warning")] if problem else []
    return [*warned, *_PAGES[view.page](snapshot, view)]
