"""The official files of a data set: looked for where the user keeps data, or downloaded and checked by their sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metamtl.data.download import fetch
from metamtl.data.places import downloads, first_existing, folders
from metamtl.data.source import DataPaths


@dataclass(frozen=True)
class Official:
    """The files of the data option `name` at `url`, by name, each with its `check` sum and of at most `max_bytes`.

    `inner` are the names that their folder usually has; a zip archive may also be there as what it unpacks to.
    """

    name: str
    url: str
    check: Literal["sha256", "md5"]
    sums: Mapping[str, str]
    inner: Sequence[str]
    max_bytes: int

    def find(self, paths: DataPaths, root: str | None = None) -> dict[str, Path | None]:
        """Each file where it is under paths.data, or in the folder `root` instead; or None."""
        places = folders(paths, self.name, root, *self.inner)
        return {file: first_existing(places, (file, file.removesuffix(".zip"))) for file in self.sums}

    def find_or_fetch(self, paths: DataPaths, root: str | None = None) -> list[Path]:
        """Every file; what is missing is downloaded and checked against the official sum."""
        base = Path(root).expanduser() if root is not None else downloads(paths) / self.name
        return [found or self._fetch(file, base) for file, found in self.find(paths, root).items()]

    def _fetch(self, file: str, base: Path) -> Path:
        sha256, md5 = (self.sums[file] if self.check == kind else None for kind in ("sha256", "md5"))
        return fetch(f"{self.url}{file}", base / file, sha256=sha256, md5=md5, max_bytes=self.max_bytes)
