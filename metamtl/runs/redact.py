"""Keeps keys, tokens and passwords out of every file that a run writes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"

# A name tells a secret when it contains one of these, `clientSecret` too ...
_PART = r"secret|passw(?:or)?d|passphrase|credential"
_SECRET_PART = re.compile(_PART, re.IGNORECASE)
# ... or when one of its words ends like this: `WANDB_API_KEY`, `hf-token`; but not `tokenizer` or `keyword`.
_WORD = r"(?:key|token)s?(?![a-z])"
_SECRET_WORD = re.compile(_WORD, re.IGNORECASE)
# A config is built again on resume, so there only what can be nothing else is hidden: `label_key` and
# `pad_token` stay.
_SECRET_KEY_OF_CONFIG = re.compile(r"(?:api|access|auth|private)[_-]?(?:key|token)", re.IGNORECASE)
# `max_tokens=128` is no secret.
_HARMLESS = re.compile(r"[-+]?[\d.,e+-]+|true|false|null|none|\[\]|", re.IGNORECASE)
_VALUE = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;(){}\[\]\"']+"
_NAME = rf"(?<![\w./@+~-])(?P<name>[\w./@+~-]*(?:{_PART}|{_WORD})[\w./@+~-]*)"
_ASSIGNMENT = re.compile(rf"{_NAME}(?P<sign>[\"']?[ \t]*[=:][ \t]*)(?P<value>{_VALUE})", re.IGNORECASE)
_CREDENTIALS_IN_URL = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)")  # a name alone is needed to build from a config
_SHORTEST_VALUE = 8  # shorter values of the environment would blot out ordinary words


def names_a_secret(name: str) -> bool:
    """Whether a value under this name is to be hidden, unless it is plainly a number."""
    return bool(_SECRET_PART.search(name) or _SECRET_WORD.search(name))


def redact_text(text: str) -> str:
    """`text` with secrets hidden.

    These are values assigned to names that tell one, credentials in addresses, and wherever they occur the
    values of environment variables whose names tell a secret.
    """
    text = _CREDENTIALS_IN_URL.sub(HIDDEN, without_secrets_of_the_environment(text))
    return _ASSIGNMENT.sub(_hide_value, text)


def without_secrets_of_the_environment(text: str) -> str:
    """`text` with the values of environment variables whose names tell a secret hidden, and all else as it is."""
    for value in _secrets_of_the_environment():
        text = text.replace(value, HIDDEN)
    return text


def redact_command(arguments: Sequence[str]) -> list[str]:
    """The command line with the values of `api_key=...`, `--token=...` and `--token ...` hidden."""
    shown: list[str] = []
    previous = ""
    for argument in arguments:
        follows_flag = previous.startswith("-") and "=" not in previous and names_a_secret(previous)
        name, sign, value = argument.partition("=")
        if follows_flag and not argument.startswith("-"):
            shown.append(HIDDEN)
        elif sign and _to_be_hidden(name, value):
            shown.append(f"{name}={HIDDEN}")
        else:
            shown.append(redact_text(argument))
        previous = argument
    return shown


def redact_config(value: Any, name: str = "") -> Any:
    """A config with the strings under names such as `api_key` and `password` hidden, all else as it is.

    In every string the values of secret environment variables, which ${oc.env:TOKEN} brings in, and passwords in
    addresses are hidden.
    """
    if isinstance(value, Mapping):
        return {key: redact_config(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_config(item, name) for item in value]
    secret = bool(_SECRET_PART.search(name) or _SECRET_KEY_OF_CONFIG.search(name))
    if not isinstance(value, str):
        return value
    return HIDDEN if secret else _PASSWORD_IN_URL.sub(HIDDEN, without_secrets_of_the_environment(value))


def _to_be_hidden(name: str, value: str) -> bool:
    if _SECRET_PART.search(name):
        return value not in ("", "null")
    return bool(_SECRET_WORD.search(name)) and not _HARMLESS.fullmatch(value)


def _hide_value(match: re.Match[str]) -> str:
    name, sign, value = match["name"], match["sign"], match["value"]
    # In prose and source lines a bare `key` is a dictionary's or a sort's; on a command line it is not bare.
    if name.lower() in ("key", "keys") or not _to_be_hidden(name, value.strip("\"'")):
        return match[0]
    return f"{name}{sign}{HIDDEN}"


def _secrets_of_the_environment() -> list[str]:
    values = {value for name, value in os.environ.items() if _to_be_hidden(name, value)}
    # A path to a key is no secret, and hiding it would hide the user's home in every line.
    telling = {value for value in values if len(value) >= _SHORTEST_VALUE and not os.path.lexists(value)}
    return sorted(telling, key=len, reverse=True)
