"""Settings of a run or of a saved model that an earlier version wrote: keys that came later take their defaults.

A run on which nothing is changed has its defaults written out, so that only what did not exist yet is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamtl.config.library import Library
from metamtl.errors import MetamtlError

_OF_A_LEARNER = ("backbone", "algo", "task", "trainer", "eval")
_OF_A_RUN = (*_OF_A_LEARNER, "data", "paths", "logger")


def completed_run(config: Mapping[str, Any], library: Library | None = None) -> dict[str, Any]:
    """The whole config of a run, completed; raises MetamtlError where a section is lost that every version wrote."""
    _require(config, _OF_A_RUN)
    return completed(config, library)


def completed(settings: Mapping[str, Any], library: Library | None = None) -> dict[str, Any]:
    """The settings with every key that their options' files give a plain value and that is absent.

    `library` are the options, where they have been read already, which takes a while. Raises MetamtlError where a
    section that a learner is built from is lost.
    """
    _require(settings, _OF_A_LEARNER)
    library = library or Library.load()
    options, primary = library.groups, library.primary["train"].raw
    names = {
        "trainer": "default",
        "eval": "default",
        "backbone": settings["backbone"]["name"],
        "algo": settings["algo"]["name"],
        **({"sharing": settings["sharing"]["name"]} if "name" in settings.get("sharing", {}) else {}),
    }
    found = dict(settings)
    added: dict[str, Any] = {
        "families": {},
        "sequence": [],
        "told": None,
        "references": "none",
        "budgets": [],
        "note": {},
    }
    for key, value in added.items():
        found.setdefault(key, value)
    for key in ("mixing", "relatedness"):
        found.setdefault(key, primary[key])
    for group, name in names.items():
        option = options[group].get(name)
        if option is not None:
            own = option.raw.get(group, {}) if group == "algo" else option.raw
            later = {key: value for key, value in own.items() if key != "about" and not _is_reference(value)}
            found[group] = {**settings[group], **{key: later[key] for key in later if key not in settings[group]}}
    return found


def _require(settings: Mapping[str, Any], sections: tuple[str, ...]) -> None:
    lost = [name for name in sections if not isinstance(settings.get(name), Mapping)]
    if lost:
        raise MetamtlError(f"The config of the run is damaged: it has no section {', '.join(lost)}.")


def _is_reference(value: object) -> bool:
    return "${" in str(value)
