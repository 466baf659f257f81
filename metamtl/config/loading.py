"""A config as Hydra composes it from overrides, and what Hydra says where it cannot, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metamtl.config import paths, sources
from metamtl.config.keys import PRIMARY
from metamtl.errors import UsageError

REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, UsageError, ValueError, TypeError)


@contextmanager
def hydra_at(config_dir: Path | None) -> Iterator[None]:
    """While inside, Hydra composes from metamtl's options, those of installed packages and a user's folder."""
    sources.register()
    with (
        _outer_put_back(),
        sources.user_folder(config_dir),
        hydra.initialize_config_dir(str(paths.own_folder()), job_name=PRIMARY, version_base=None),
    ):
        yield


@contextmanager
def _outer_put_back() -> Iterator[None]:
    """A family is composed while the run is: Hydra's two globals are those of the run again at the end."""
    before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().hydra = None
    try:
        yield
    finally:  # Hydra has put copies in the place of both meanwhile
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = before


def load(texts: Sequence[str]) -> tuple[DictConfig, dict[str, Any]]:
    """What Hydra composes, without its own section, and the option chosen for each group; raises one of REFUSALS."""
    composed = hydra.compose(PRIMARY, list(texts), return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    choices = {str(group): name for group, name in composed.hydra.runtime.choices.items()}
    with open_dict(composed):
        del composed["hydra"]
    return composed, choices


def plain_of(config: DictConfig, resolve: bool) -> dict[str, Any]:
    """The config as dicts and lists; with `resolve` every reference is followed."""
    plain = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def as_sentence(error: Exception) -> str:
    """An error of Hydra's or OmegaConf's as one sentence."""
    reason = error.__cause__ or error
    key = f"{reason.full_key}: " if isinstance(reason, OmegaConfBaseException) and reason.full_key else ""
    kept = [
        line.strip()
        for line in str(reason if key else error).splitlines()
        if line.strip() and not any(noise in line for noise in ("hydra.cc", "full_key:", "object_type="))
    ]
    cause = f" ({' '.join(str(error.__cause__).split())})" if error.__cause__ and not key else ""
    return key + " ".join(kept).rstrip(".") + cause + "."
