"""What a reader looks at, as a link: every choice on every page is part of the address and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

PAGES: Mapping[str, str] = {
    "runs": "Runs",
    "curves": "Curves",
    "search": "Search",
    "compare": "Compare",
    "related": "Families",
    "run": "One run",
}
SMOOTHINGS = ("0", "0.6", "0.9", "0.97")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "rows": ("groups", "runs"),
    "x": ("step", "time"),
    "log": ("", "x", "y", "xy"),
    "band": ("range", "none"),
    "smooth": SMOOTHINGS,
}
_LONGEST = 2000  # characters of one choice in an address


@dataclass(frozen=True)
class View:
    """A page and its choices; the first of each is the default, which the address leaves out.

    `where`: a filter as `metamtl compare --where` takes it. `metric`: a figure (`accuracy`) or on the page of curves a
    name of the stream (`val/accuracy`). `groups`, `baseline`, `run`: identities that the collected runs know, groups by
    their first run; others are looked up in vain and never a path. `start`: the first row of a long table.
    """

    page: str = "runs"
    where: str = ""
    metric: str = ""
    baseline: str = ""
    groups: tuple[str, ...] = ()
    run: str = ""
    rows: str = "groups"
    sort: str = ""
    start: int = 0
    x: str = "step"
    log: str = ""
    smooth: str = "0"
    band: str = "range"
    key: str = ""

    @classmethod
    def of(cls, address: str) -> View:
        """The view of an address, `/curves?smooth=0.9` or a whole link; what cannot be read takes its default."""
        parts = urlsplit(address)
        given = {name: values[-1][:_LONGEST] for name, values in _query(parts.query).items()}
        found: dict[str, Any] = {name: given[name] for name in _TEXTS if name in given}
        found |= {name: given[name] for name, allowed in _CHOICES.items() if given.get(name) in allowed}
        found["groups"] = tuple(filter(None, given.get("groups", "").split(",")))
        found["start"] = int(given["start"]) if given.get("start", "").isdecimal() else 0
        return cls(page=parts.path.strip("/") or "runs", **found)

    def link(self) -> str:
        """The address, without host."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "page"}
        told = {name: value for name, value in chosen.items() if value != getattr(_DEFAULT, name)}
        query = urlencode({name: ",".join(value) if name == "groups" else value for name, value in told.items()})
        return f"/{self.page}?{query}" if query else f"/{self.page}"

    def to(self, **changes: Any) -> View:
        """The same view but for these choices; another order or other rows begin at the first row."""
        return replace(self, **{"start": 0, **changes})

    def without_where(self) -> dict[str, str]:
        """The choices beside the filter that the address tells, by name."""
        return {name: values[-1] for name, values in _query(urlsplit(self.to(where="").link()).query).items()}


_TEXTS = ("where", "metric", "baseline", "run", "sort", "key")
_DEFAULT = View()


def _query(text: str) -> dict[str, list[str]]:
    try:
        return parse_qs(text, max_num_fields=50)
    except ValueError:  # more fields than any view has
        return {}
