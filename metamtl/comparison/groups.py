"""Runs that differ only by seed as one group, with the keys in which it differs from the others and a short name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from metamtl.comparison.names import short_names
from metamtl.comparison.record import RunRecord
from metamtl.config.families import OWN_SECTIONS, OWN_TRAINER

# What decides no figure: who ran it where, and how much of it was written down.
IGNORED = frozenset(
    {
        "seed",
        "label",
        "note",
        "paths",
        "logger",
        "references",
        "budgets",
        "engine",
        "trainer.device",
        "trainer.threads",
        "trainer.workers",
        "trainer.pool",
        "trainer.memory",
        "trainer.fused",
        "trainer.log_every",
        "trainer.checkpoint_every",
        "eval.gap_episodes",
        "eval.robustness",
        "eval.cost",
    }
)
# What says how several families are learned together: nothing of a run that has one, such as a reference.
_BETWEEN_FAMILIES = frozenset({"weighting", "sharing", "mixing", "relatedness"})


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one configuration.

    `settings`: the dotted keys in which the groups beside it differ, with this group's values; keys that it does not
    have are left out. `records`: oldest first, unfinished ones too.
    """

    name: str
    settings: Mapping[str, Any]
    records: tuple[RunRecord, ...]

    @cached_property
    def counted(self) -> tuple[RunRecord, ...]:
        """The finished records that figures are made of: of each seed the newest."""
        newest = {record.seed: record for record in self.records if record.finished}
        return tuple(newest.values())

    @property
    def superseded(self) -> int:
        """How many finished records do not count, since a newer one has their seed."""
        return sum(record.finished for record in self.records) - len(self.counted)


def grouped(records: Iterable[RunRecord]) -> list[Group]:
    """The groups of all records that have a config, in the order of their first record.

    Records whose configs are equal but whose test episodes, data or protocol are not (another copy of the data, another
    version) make groups of their own.
    """
    alike: dict[str, list[RunRecord]] = {}
    for record in records:
        if record.config:
            alike.setdefault(_frozen(telling(record.settings)), []).append(record)
    members: list[list[RunRecord]] = []
    settings: list[dict[str, Any]] = []
    for same_config in alike.values():
        for facts, same in _by_facts(same_config):
            members.append(same)
            settings.append({**telling(same[0].settings), **facts})
    differing = differing_keys(settings)
    shown = [{key: one[key] for key in differing if key in one} for one in settings]
    names = short_names(settings, shown)
    return [Group(*parts) for parts in zip(names, shown, map(tuple, members), strict=True)]


def telling(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without what decides no figure."""
    several = any(key.startswith("families.") for key in settings)
    ignored = IGNORED if several else IGNORED | _BETWEEN_FAMILIES
    return {key: value for key, value in settings.items() if not ignored & {key, key.partition(".")[0]} and _used(key)}


def differing_keys(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that not all have, or not with the same value, in the order in which they come."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({_frozen(one[key]) if key in one else None for one in settings}) > 1]


def _used(key: str) -> bool:
    """False for what a family's complete config says and the run takes from its own: seed, paths, steps ..."""
    match key.split("."):
        case ["families", _, "config", section, *rest]:
            return section in OWN_SECTIONS or (section == "trainer" and rest[:1] != [] and rest[0] in OWN_TRAINER)
    return True


def _by_facts(records: Sequence[RunRecord]) -> list[tuple[dict[str, str], list[RunRecord]]]:
    """The records by what their results say of the protocol, with the facts that differ; unfinished ones come first."""
    found: dict[str, tuple[dict[str, str], list[RunRecord]]] = {}
    for record in records:
        if record.finished:
            facts = protocol_facts(record)
            found.setdefault(_frozen(facts), (facts, []))[1].append(record)
    unfinished = [record for record in records if not record.finished]
    if not found:
        return [({}, unfinished)]
    parts = list(found.values())
    kept = differing_keys([facts for facts, _ in parts])
    split = [({key: facts[key] for key in kept if key in facts}, same) for facts, same in parts]
    split[0][1][:0] = unfinished
    return split


def protocol_facts(record: RunRecord) -> dict[str, str]:
    """What a result says of its episodes and of how they were met; with several families of each."""
    found: dict[str, str] = {}
    for metric in record.measured:
        facts, prefix = record.facts(metric), f"result.{record.parted(metric).family}".rstrip(".")
        found[f"{prefix}.episodes_id"] = str(facts.get("episodes_id", ""))
        found[f"{prefix}.data"] = str(facts.get("data", {}).get("fingerprint", ""))[:8]
        found[f"{prefix}.transduction"] = str(facts.get("transduction", ""))
        found[f"{prefix}.normalisation"] = str(facts.get("normalisation", ""))
    return found


def _frozen(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
