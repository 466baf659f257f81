"""Options that only a run of several families looks at, chosen for a run of one: they would have no effect."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

_SEVERAL = "name several families, as families.NAME={data: OPTION}"


def without_effect(config: Mapping[str, Any], families: Sized) -> list[str]:
    """A sentence for each option of `config` (plain, not yet checked) that `families` are too few for.

    A single family that is named has its network made by `sharing`, so that only weighing and relatedness need two.
    """
    problems = []
    weighting, sharing = (_name(config, group) for group in ("weighting", "sharing"))
    if weighting not in (None, "equal") and len(families) < 2:
        problems.append(
            f"weighting={weighting}: makes one update of several families' gradients, and this run has one family: "
            f"leave weighting=equal, or {_SEVERAL}."
        )
    if sharing not in (None, "hard") and not families:
        problems.append(
            f"sharing={sharing}: says which weights several families have in common, and this run has one family: "
            f"leave sharing=hard, or {_SEVERAL}."
        )
    every = _section(config, "relatedness").get("every")
    if every is not None and len(families) < 2:
        problems.append(
            f"relatedness.every={every}: measures what families do to one another, and this run has one family: "
            f"leave relatedness.every=null, or {_SEVERAL}."
        )
    take = _section(config, "mixing").get("take")
    if take is not None and not families:
        problems.append(
            f"mixing.take={take}: draws some of several families for each update, and this run has one family: "
            f"leave mixing.take=null, or {_SEVERAL}."
        )
    return problems


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _name(config: Mapping[str, Any], group: str) -> Any:
    return _section(config, group).get("name")
