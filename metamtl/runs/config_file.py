"""config.yaml: a resolved config that reads back equal, in this program and in others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from metamtl.errors import MetamtlError
from metamtl.runs.files import clear_disk_errors, to_plain, write_atomic
from metamtl.runs.redact import redact_config

# Several times as fast, where PyYAML was built with libyaml.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# Line ends of Unicode, which a reader takes for spaces or "\n" unless they are written as escapes.
_LINE_ENDS = frozenset("\x85\u2028\u2029")


class _Dumper(yaml.SafeDumper):
    """Quotes strings such as "1e-3", which YAML 1.2 and OmegaConf read as numbers though PyYAML does not."""


def _represent_string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if _looks_numeric(text) else '"' if _LINE_ENDS.intersection(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_string)


def write_config(path: Path, config: Mapping[str, Any], shared: bool = False) -> None:
    """Replaces `path` in one step by `config`, keys in their order, strings under secret names hidden.

    `shared` as `write_atomic` has it.
    """
    plain = _plain(redact_config(config))
    text = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    write_atomic(path, text.encode(), shared)


def read_config(path: Path) -> dict[str, Any]:
    """The config at `path`; raises MetamtlError where it is missing, damaged or no mapping."""
    with clear_disk_errors(path, doing="read"):
        content = path.read_bytes()
    try:
        config = yaml.load(content, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that there is not is a ValueError
        raise MetamtlError(f"{path} is damaged: it is not YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(config, dict):
        raise MetamtlError(f"{path} is damaged: it holds no config.")
    return config


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    # Unlike JSON, YAML has a form for floats that are not finite.
    return value if isinstance(value, float) else to_plain(value)


def _looks_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
