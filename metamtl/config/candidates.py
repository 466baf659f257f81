"""What is left to be chosen on validation (`eval.choose`) once the user has settled some of it by typing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from metamtl.config.keys import CANDIDATES, CHOOSE


def left_to_choose(config: Mapping[str, Any], typed: Sequence[Override]) -> dict[str, Any]:
    """`config` (settled) whose `eval.choose` is what the user meant.

    An experiment brings candidates. A key of `algo` that the user gave a value has none of them, and a map of
    candidates that was typed stands in their place, where Hydra joins the two.
    """
    names: set[str] = {override.key_or_group for override in typed}
    maps = [override.value() for override in typed if override.key_or_group == CANDIDATES and not override.is_delete()]
    whole: Collection[Any] | None = maps[-1] if maps and isinstance(maps[-1], Mapping) else None
    left = {
        key: values
        for key, values in config["eval"]["choose"].items()
        if f"{CHOOSE}{key}" in names
        or (f"algo.{key}" not in names if whole is None else key in {str(name) for name in whole})
    }
    return {**config, "eval": {**config["eval"], "choose": left}}
