"""`metamtl list`: every option with a line of what it is, or one with its keys; imports neither torch nor Hydra."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metamtl.commands.option_keys import Key, keys_of_option
from metamtl.config.hints import did_you_mean, nearest
from metamtl.config.library import Library, Option
from metamtl.errors import UsageError

HELP = """usage: metamtl list [GROUP [NAME]] [--json] [--config-dir FOLDER]

Every option of every group, or of one: its name and what it is. Of one option also its keys, as you type them, each
with its value, its type and range, and what it does. Options of installed packages are among them, and with
--config-dir your own.

  --json    a list of {"name", "summary", ...} for one group, an object of such lists for all, of one option an object

examples:
  metamtl list
  metamtl list algo
  metamtl list algo maml
  metamtl list data --json"""


def main(arguments: Sequence[str]) -> int:
    """Print the options; raises UsageError for a group or an option that there is not."""
    group, name, as_json, config_dir = _parse(arguments)
    library = Library.load(config_dir)
    if group is not None and group not in library.groups:
        known = f"there are {', '.join(sorted(library.groups))}."
        raise UsageError(f"{group}: no such group{did_you_mean(nearest(group, library.groups))} {known.capitalize()}")
    if group is not None and name is not None:
        _one(_named(library, group, name), library, as_json)
        return 0
    groups = {
        name: [_facts(option) for _, option in sorted(options.items())]
        for name, options in sorted(library.groups.items())
        if group in (None, name)
    }
    if as_json:
        print(json.dumps(groups if group is None else groups[group], indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        _table(groups)
    else:
        _plain(groups)
    return 0


def _parse(arguments: Sequence[str]) -> tuple[str | None, str | None, bool, Path | None]:
    words, as_json, config_dir = [], False, None
    rest = iter(arguments)
    for word in rest:
        if word == "--json":
            as_json = True
        elif word in ("--config-dir", "-cd"):
            config_dir = next(rest, "")
        elif word.startswith("--config-dir="):
            config_dir = word.partition("=")[2]
        else:
            words.append(word)
    wrong = [word for word in words if word.startswith("-")]
    if wrong or len(words) > 2 or config_dir == "":
        raise UsageError(
            f"metamtl list takes a group, a name, --json and --config-dir FOLDER, not {' '.join(arguments)}."
        )
    group, name = (*words, None, None)[:2]
    return group, name, as_json, (Path(config_dir) if config_dir else None)


def _named(library: Library, group: str, name: str) -> Option:
    options = library.groups[group]
    if name not in options:
        hint = did_you_mean(nearest(name, options))
        raise UsageError(f"{group}={name}: there is no such option{hint} `metamtl list {group}` shows all.")
    return options[name]


def _one(option: Option, library: Library, as_json: bool) -> None:
    """The option and its keys; raises UsageError where its file cannot be read."""
    facts, keys = {**option.about, **_facts(option)}, keys_of_option(option, library)
    if as_json:
        facts["keys"] = {key.key: {"value": key.value, "type": key.type, "help": key.help} for key in keys}
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    print(f"{option.group}={option.name}", *filter(None, (facts["summary"], facts.get("paper"))), sep="\n")
    if sys.stdout.isatty():
        _table_of_keys(keys)
    else:
        print(*("\t".join((f"{key.key}={key.value}", key.type, key.help)).rstrip() for key in keys), sep="\n")


def _table_of_keys(keys: Sequence[Key]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", overflow="fold")
    table.add_column(ratio=1)
    for key in keys:
        meaning = Text(key.help)
        if key.type:
            meaning += Text(f"\n{key.type}", "dim")
        table.add_row(Text(f"{key.key}={key.value}"), meaning)
    Console().print(table)


def _facts(option: Option) -> dict[str, Any]:
    """What the option says of itself, keys as `{name: "TYPE; help"}`; an unreadable file says so in its summary."""
    try:
        about = option.about
    except UsageError as error:
        return {"name": option.name, "summary": f"unreadable: {error}"}
    return {"name": option.name, "summary": str(about.get("summary", "")), **about}


def _source(facts: dict[str, Any]) -> str:
    """`Finn, Abbeel & Levine (2017)` of the whole reference; a bare year where there is no paper."""
    paper, year = str(facts.get("paper", "")), str(facts.get("year", ""))
    head, found, _ = paper.partition(f"({year})")
    return f"{head}({year})" if found and year else paper or year


def _plain(groups: dict[str, list[dict[str, Any]]]) -> None:
    for group, options in groups.items():
        for facts in options:
            print("\t".join((group, facts["name"], facts["summary"], _source(facts))).rstrip())


def _table(groups: dict[str, list[dict[str, Any]]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for group, options in groups.items():
        table = Table(title=f"{group}=", title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(no_wrap=True, style="cyan", min_width=14)
        table.add_column(ratio=1)
        for facts in options:
            source = _source(facts)
            table.add_row(Text(facts["name"]), Text(facts["summary"]) + Text(f"\n{source}" if source else "", "dim"))
        console.print(table)
        console.print()
