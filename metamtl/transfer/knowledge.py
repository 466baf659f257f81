"""Knowledge: what is carried from a source to a target, as a plain record of tensors and numbers."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metamtl.errors import MetamtlError
from metamtl.runs.files import clear_disk_errors, write_atomic


@dataclass
class Knowledge:
    """What one or more sources know, on the CPU.

    `parameters` are a network's weights and buffers by name, `importance` the importance of some of them in the same
    shapes, `teacher` what rebuilds the network that `parameters` belong to (backbone, input_shape, outputs, classes),
    `embeddings` vectors of tasks by name, `replay` examples as `x` and `y` (and those that features are aligned with as
    `beside`), `affinity` scores between tasks, and `provenance` says where all of it comes from.
    """

    parameters: dict[str, Tensor] = field(default_factory=dict)
    importance: dict[str, Tensor] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    replay: dict[str, Tensor] = field(default_factory=dict)
    affinity: dict[str, Tensor] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def joined(self, other: Knowledge) -> Knowledge:
        """Both records in one; a part that both have is the other's."""
        return Knowledge(**{one.name: {**getattr(self, one.name), **getattr(other, one.name)} for one in fields(self)})

    def save(self, path: Path) -> None:
        """Writes the record whole or not at all; MetamtlError where the disk refuses."""
        buffer = io.BytesIO()
        torch.save(asdict(self), buffer)
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Knowledge:
        """The record that `save` wrote; MetamtlError where the file is none."""
        with clear_disk_errors(path, doing="read"):
            payload = path.read_bytes()
        try:
            return cls(**torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many kinds for a file that is not its own
            raise MetamtlError(
                f"{path} is refused: it is no knowledge of metamtl's, or holds more than tensors and numbers."
            ) from error
