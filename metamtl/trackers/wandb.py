"""Copies figures to Weights & Biases: offline unless the user has a key, never in the way of the console.

All runs of an outputs folder share `<outputs>/wandb`, so that `wandb leet` in that folder compares them and
`wandb sync` sends them later.
"""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from metamtl.registry import register
from metamtl.runs.folder import RunFolder
from metamtl.runs.meta import Status
from metamtl.runs.redact import redact_config, redact_text

Mode = Literal["auto", "online", "offline"]

_DEFAULT_ADDRESS = "https://api.wandb.ai"
_START_SECONDS = 30.0  # also how long a process waits at its end for a wandb that is still starting
_FINISH_SECONDS = 45.0  # below the time of the whole group, so that wandb itself ends in order
_logger = logging.getLogger(__name__)
_EXIT_CODES: Mapping[Status, int] = {"running": 0, "completed": 0, "failed": 1, "interrupted": 130}


@register("logger", "wandb")
class WandbTracker:
    """One wandb run with the run folder's id."""

    def __init__(
        self,
        *,
        project: str = "metamtl",
        mode: Mode = "auto",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        self._project, self._mode, self._entity, self._group = project, mode, entity, group
        self._tags = list(tags)
        self._run: Any = None

    def start(self, run_folder: RunFolder, config: Mapping[str, Any]) -> None:
        """Opens the wandb run; secrets of `config` are hidden first."""
        mode = chosen_mode(self._mode)
        try:
            self._run = self._opened(run_folder, config, mode)
        except Exception as error:
            if mode != "online" or self._mode != "auto":
                raise
            reason = redact_text(" ".join(str(error).split()))
            _logger.warning("wandb cannot go online, so it keeps this run offline: %s", reason)
            _forget_failed_start()
            self._run = self._opened(run_folder, config, "offline")

    def _opened(self, run_folder: RunFolder, config: Mapping[str, Any], mode: str) -> Any:
        import wandb

        outputs = _outputs(run_folder, config)
        outputs.mkdir(parents=True, exist_ok=True)
        name = _name_within(run_folder.path, outputs)
        settings = _quiet_settings()
        wandb.setup(settings)  # the login speaks before the run's own settings count
        return wandb.init(
            project=self._project,
            entity=self._entity,
            group=self._group,
            tags=self._tags,
            id=name.replace("/", "-"),
            name=name,
            dir=str(outputs),
            config=redact_config(config),
            mode=cast(Any, mode),  # WANDB_MODE may hold anything; wandb refuses what it does not know
            resume="allow" if mode == "online" else None,  # offline each process leaves a part; syncing joins them
            reinit="create_new",  # a run that hangs in the background must not take the figures of the next job
            settings=settings,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds `values` to the wandb run's row of `step`."""
        self._run.log(dict(values), step=step)

    def finish(self, result: Mapping[str, Any] | None, status: Status) -> None:
        """Writes the result's figures into the summary and closes the wandb run."""
        self._run.summary.update({"status": status, **_flat(result or {})})
        self._run.finish(exit_code=_EXIT_CODES[status])


def chosen_mode(mode: Mode) -> str:
    """`auto` is what WANDB_MODE says, else online where a key is at hand (WANDB_API_KEY or netrc), else offline."""
    if mode != "auto":
        return mode
    asked = os.environ.get("WANDB_MODE")
    if asked:
        return asked
    return "online" if os.environ.get("WANDB_API_KEY") or _in_netrc() else "offline"


def _in_netrc() -> bool:
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _DEFAULT_ADDRESS)).hostname or ""
    given = os.environ.get("NETRC")
    for path in [Path(given)] if given else [Path("~/.netrc"), Path("~/_netrc")]:
        try:
            return host in netrc.netrc(path.expanduser()).hosts
        except (OSError, RuntimeError, netrc.NetrcParseError):
            continue  # absent or unreadable: no key that wandb could use either
    return False


def _forget_failed_start() -> None:
    import wandb

    wandb.teardown()  # its background process would refuse a second run of this id


def _outputs(run_folder: RunFolder, config: Mapping[str, Any]) -> Path:
    given = (config.get("paths") or {}).get("outputs")
    return Path(given).absolute() if given else run_folder.path.parent.absolute()


def _name_within(run: Path, outputs: Path) -> str:
    # A job of a multirun is `<sweep-id>/<number>`: its number alone would be no name.
    run = run.absolute()
    return run.relative_to(outputs).as_posix() if run.is_relative_to(outputs) else run.name


def _quiet_settings() -> Any:
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",  # log.txt has it, without secrets
        x_disable_meta=True,  # the metadata hold the command line as typed, with any secret in it
        disable_git=True,  # meta.json has the commit; a remote's address may hold a password
        save_code=False,
        init_timeout=_START_SECONDS,
        finish_timeout=_FINISH_SECONDS,
    )


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            figures |= _flat(value, f"{prefix}{key}/")
        else:
            figures[prefix + key] = value
    return figures
