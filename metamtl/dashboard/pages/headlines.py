"""Which figures come first: those by which runs select, then others; those of single types are folded away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from metamtl.comparison.groups import Group
from metamtl.comparison.record import RunRecord
from metamtl.dashboard.blocks import Block, Choices, Folded
from metamtl.dashboard.view import View
from metamtl.runs.metric_names import DELTA_M, parted

_MOST_SHOWN = 6  # figures that stand beside one another without being folded away
_INTERVAL = "_ci95"


class Ordered(NamedTuple):
    """Names of figures: the `first` to look at, the `others`, and those of a `single` type such as `slots/f1/album`."""

    first: list[str]
    others: list[str]
    single: list[str]

    @property
    def every(self) -> list[str]:
        """All of them in this order."""
        return [*self.first, *self.others, *self.single]


def of_records(records: Iterable[RunRecord]) -> Ordered:
    """The test figures of finished runs, first what they selected by."""
    told = [record for record in records if record.finished]
    selected = dict.fromkeys(name for record in told for name in record.selected_by)
    names = {name: record.parted(name).type for record in told for name in record.figures}
    first = [name for name in (*selected, DELTA_M) if name in names]
    others = [name for name, of_type in names.items() if not of_type and name not in first]
    return Ordered(first, others, [name for name, of_type in names.items() if of_type])


def of_groups(groups: Iterable[Group]) -> Ordered:
    """Those of the groups' counted runs."""
    return of_records(record for group in groups for record in group.counted)


def of_streams(found: Sequence[Mapping[str, object]]) -> Ordered:
    """The names in any of the streams: first what validation selects by, in validation and in training, and losses.

    A run that trains still has said by no result what it selects by: it is what has an interval in its stream.
    """
    names = dict.fromkeys(name for curves in found for name in curves)
    judged = [name.removesuffix(_INTERVAL).partition("/")[2] for name in names if name.endswith(_INTERVAL)]
    wanted = [
        "val/score",
        *(f"val/{metric}" for metric in judged),
        *(f"train/{metric}" for metric in judged),
        "train/loss",
    ]
    first = [name for name in dict.fromkeys(wanted) if name in names]
    rest = [name for name in names if name not in first and not name.endswith(_INTERVAL) and name != "time/seconds"]
    order = ("val", "train")
    ranks = {split: place for place, split in enumerate(order)}
    rest.sort(key=lambda name: ranks.get(name.partition("/")[0], len(order)))
    single = [name for name in rest if name.partition("/")[0] in order and parted(name.partition("/")[2]).type]
    return Ordered(first, [name for name in rest if name not in single], single)


def figure_choices(ordered: Ordered, chosen: str | None, view: View) -> list[Block]:
    """The first figures as links, the chosen one among them, and the many others folded; nothing without a choice."""
    first, others = list(ordered.first), list(ordered.others)
    if len(first) + len(others) <= _MOST_SHOWN or not first:
        first, others = [*first, *others], []
    if chosen is not None and chosen not in first:
        first.append(chosen)
    folded = [*_links("others", others, chosen, view), *_of_types(ordered.single, chosen, view)]
    count = len(others) + len(ordered.single)
    more: list[Block] = [Folded(f"{count} more figures", folded)] if folded else []
    return [*(_links("figure", first, chosen, view) if len(first) > 1 or more else []), *more]


def _of_types(single: Sequence[str], chosen: str | None, view: View) -> list[Block]:
    """A line a kind of figure: `slots/f1 of`, and the types as links."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for name in single:
        family, kind, of_type = parted(name)
        kinds.setdefault(f"{family}/{kind} of".lstrip("/"), []).append((of_type, name))
    return [
        Choices(label, [(of_type, view.to(metric=name), name == chosen) for of_type, name in types])
        for label, types in kinds.items()
    ]


def _links(label: str, names: Sequence[str], chosen: str | None, view: View) -> list[Block]:
    return [Choices(label, [(name, view.to(metric=name), name == chosen) for name in names])] if names else []
