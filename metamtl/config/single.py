"""Options of several families that would have no effect: chosen for a run of one, or beside others that undo them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_RULES = ("equal", "temperature", "subsets")  # but the default one
_TEMPERATURE = 2.0  # the default one
_SEVERAL = "name several families, as families.NAME={data: OPTION}"


def without_effect(config: Mapping[str, Any], families: Collection[str]) -> list[str]:
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
    elif sharing == "grouped" and not _section(config, "sharing").get("groups"):
        example = ",".join(f"[{name}]" for name in list(families)[:2])
        problems.append(
            "sharing=grouped: without groups all families share one backbone, as in sharing=hard: name the groups, as "
            f"'sharing.groups=[{example}]', or take sharing=hard."
        )
    every = _section(config, "relatedness").get("every")
    if every is not None and len(families) < 2:
        problems.append(
            f"relatedness.every={every}: measures what families do to one another, and this run has one family: "
            f"leave relatedness.every=null, or {_SEVERAL}."
        )
    take, rule = (_section(config, "mixing").get(key) for key in ("take", "rule"))
    if rule in _RULES and not families and _name(config, "algo") != "mtml":  # which brings a rule
        problems.append(
            f"mixing.rule={rule}: says how an update's families are drawn, and this run has one family: "
            f"leave mixing.rule=proportional, or {_SEVERAL}."
        )
    elif rule in _RULES[:2] and families and take is None:
        problems.append(
            f"mixing.rule={rule}: says how an update's families are drawn, and mixing.take=null takes all of them: "
            "set mixing.take, or leave mixing.rule=proportional."
        )
    temperature = _section(config, "mixing").get("temperature")
    if temperature not in (None, _TEMPERATURE) and rule != "temperature":
        problems.append(
            f"mixing.temperature={temperature}: is of mixing.rule=temperature, and here mixing.rule={rule}: set that "
            f"rule, or leave mixing.temperature={_TEMPERATURE}."
        )
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
