"""What Hydra is told: option files come without their `about`, which says where any key may be added, and installed
packages' folders are searched.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from metamtl.config import paths
from metamtl.config.schema import parse_entry


class FileConfigSource(file_config_source.FileConfigSource):
    """Option files as Hydra reads them, less the `about` that is meant for people and checks.

    It bears the name of the class that it stands in for, so that Hydra, registering its own in a worker, keeps this.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """The file's content without its `about`; a file that has not changed since is not read again."""
        try:
            status = Path(self.path, self._normalize_file_name(config_path)).stat()
        except OSError:
            return super().load_config(config_path)  # which says what is wrong
        # a copy, as Hydra takes the defaults list out of what it is given
        return copy.deepcopy(_unchanged(self.provider, self.path, config_path, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=4096)
def _unchanged(provider: str, folder: str, config_path: str, changed: int, size: int) -> ConfigResult:
    result = file_config_source.FileConfigSource(provider, folder).load_config(config_path)
    if isinstance(result.config, DictConfig):
        plain = OmegaConf.to_container(result.config)
        about = plain.get("about") if isinstance(plain, dict) else None
        keys = about.get("keys") if isinstance(about, dict) else None
        within = f"{config_path.partition('/')[0]}." if result.header.get("package") == "_global_" else ""
        for key, text in keys.items() if isinstance(keys, dict) else ():
            if parse_entry(str(text), f"{folder}/{config_path}: {key}").is_map:
                _open_map(result.config, f"{within}{key}")
        result.config.pop("about", None)
    return result


def _open_map(config: DictConfig, key: str) -> None:
    """Lets the command line add what is below `key` without a `+`.

    Where there is no map yet (`source: null`) its section is opened; what is misspelt there, the check of keys finds.
    """
    node = OmegaConf.select(config, key)
    above = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config
    opened = node if isinstance(node, DictConfig) else above
    if isinstance(opened, DictConfig):
        OmegaConf.set_struct(opened, False)


class OptionFolders(SearchPathPlugin):
    """Adds the folders of installed packages to Hydra's search path, and a user's while one composes outside Hydra."""

    user: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders, behind metamtl's own."""
        for folder in paths.third_party_folders():
            search_path.append("metamtl.conf", f"file://{folder}")
        if OptionFolders.user:
            search_path.append("command-line", f"file://{OptionFolders.user}")


def register() -> None:
    """Make Hydra use both; to be called before each composition, cheap when done already."""
    Plugins.instance().register(OptionFolders)
    # Replaced, not added: Hydra itself opens --config-dir and hydra.searchpath under the scheme `file`.
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource


@contextmanager
def user_folder(config_dir: Path | None) -> Iterator[None]:
    """While inside, compositions see the user's folder too."""
    OptionFolders.user = paths.user_folder(config_dir) if config_dir else None
    try:
        yield
    finally:
        OptionFolders.user = None
