"""A predictor as a file: tensors, numbers and texts alone, read with weights_only=True, so that no file can run code.

The fast state keeps its tuples, lists, dicts and dataclasses. A dataclass is written by its name, and found again only
among those that the learner's own modules know.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from metamtl.algos.base import Learner
from metamtl.deploy.adapted import Adapted, build_for_use
from metamtl.deploy.calibration import Threshold
from metamtl.deploy.origin import SETTINGS
from metamtl.deploy.pictures import reader_of
from metamtl.deploy.predictor import Predictor
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.files import clear_disk_errors, sha256_of, to_plain, write_atomic

KIND, FORMAT = "metamtl predictor", 1  # raise the format when the record's keys change their meaning
_CLASS, _TUPLE = "__dataclass__", "__tuple__"
_NAMES = (str, int, float, bool)


def save(predictor: Predictor[Any], path: Path) -> None:
    """Writes the predictor; see `Predictor.save`."""
    adapted = predictor.adapted
    config = adapted.parts.config
    record = {
        "kind": KIND,
        "format": FORMAT,
        "settings": to_plain({key: config[key] for key in SETTINGS if key in config}),
        "inputs": to_plain(adapted.inputs),
        "learner": {name: tensor.cpu() for name, tensor in adapted.parts.learner.state_dict().items()},
        "state": plain(adapted.state),
        "classes": [_name(label) for label in predictor.classes],
        "invert": getattr(predictor.reader, "invert", "auto"),
        "threshold": asdict(predictor.threshold),
        "origin": to_plain(adapted.origin),
    }
    buffer = io.BytesIO()
    torch.save({**record, "sha256": _digest(record)}, buffer)
    write_atomic(path, buffer.getvalue())


def load_predictor(path: str | Path, device: Literal["auto", "cpu", "cuda", "mps"] = "auto") -> Predictor[Any]:
    """The predictor that `Predictor.save` wrote; its run and data need not be here.

    Raises MetamtlError where the file is missing, damaged or of another kind, UsageError where the device is not.
    """
    path = Path(path).expanduser()
    with clear_disk_errors(path, doing="read"):
        payload = path.read_bytes()
    record = _read(payload, path)
    parts = build_for_use(record["settings"], record["inputs"], device)
    parts.learner.load_state_dict(record["learner"])
    state = restored(record["state"], parts.learner, parts.device)
    classes = [_label(name) for name in record["classes"]]
    adapted = Adapted(parts, state, len(classes), record["inputs"], record["origin"])
    reader = reader_of(record["inputs"], record["invert"])
    return Predictor(adapted, classes, reader, Threshold(**record["threshold"]))


def plain(state: Any) -> Any:
    """A fast state without classes of its own, tensors detached on the CPU; TypeError for what has no such form."""
    if isinstance(state, Tensor):
        return state.detach().cpu().clone()
    if is_dataclass(state) and not isinstance(state, type):
        content = {field.name: plain(getattr(state, field.name)) for field in fields(state)}
        return {_CLASS: type(state).__name__, **content}
    if isinstance(state, Mapping):
        return {name: plain(value) for name, value in state.items()}
    if isinstance(state, tuple):
        return {_TUPLE: [plain(value) for value in state]}
    if isinstance(state, list):
        return [plain(value) for value in state]
    if state is None or isinstance(state, _NAMES):
        return state
    raise TypeError(f"a fast state holds tensors, numbers and texts in containers, and no {type(state).__name__}")


def restored(content: Any, learner: Learner, device: torch.device) -> Any:
    """The fast state that `plain` wrote, for this learner; MetamtlError for a class that it does not know."""
    if isinstance(content, Tensor):
        return content.to(device)
    if isinstance(content, list):
        return [restored(value, learner, device) for value in content]
    if not isinstance(content, dict):
        return content
    if _TUPLE in content:
        return tuple(restored(value, learner, device) for value in content[_TUPLE])
    values = {name: restored(value, learner, device) for name, value in content.items() if name != _CLASS}
    return _dataclass(content[_CLASS], learner)(**values) if _CLASS in content else values


def _dataclass(name: str, learner: Learner) -> type:
    for base in type(learner).__mro__:
        found = getattr(sys.modules[base.__module__], name, None)
        if isinstance(found, type) and is_dataclass(found):
            return found
    raise MetamtlError(f"The file's fast state is a '{name}', which {type(learner).__name__} does not have.")


def _read(payload: bytes, path: Path) -> dict[str, Any]:
    try:
        record: Any = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not whole, or none of its own
        raise MetamtlError(
            f"{path} is refused: it is damaged, or holds more than tensors, numbers and texts."
        ) from error
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise MetamtlError(f"{path} is no adapted model: `metamtl adapt RUN --support DIR --save FILE` writes one.")
    if record["format"] != FORMAT:
        raise MetamtlError(
            f"{path} was written by another version of metamtl (format {record['format']}): adapt again."
        )
    if record.pop("sha256") != _digest(record):
        raise MetamtlError(f"{path} is damaged: its content is not what was saved.")
    return record


def _digest(record: Any) -> str:
    """Sha256 over texts, numbers and the bytes of tensors: torch reads a tensor with a changed byte as any other."""
    if isinstance(record, Tensor):
        return sha256_of(f"{record.dtype} {tuple(record.shape)}".encode() + record.numpy().tobytes())
    if isinstance(record, dict):
        record = [(name, _digest(value)) for name, value in record.items()]
    elif isinstance(record, list):
        record = [_digest(value) for value in record]
    return sha256_of(repr(record).encode())


def _name(label: Any) -> Any:
    """A class label as it is written; UsageError for one that is no number, text or tuple of them."""
    if label is None or isinstance(label, _NAMES):
        return label
    if isinstance(label, tuple):
        return {_TUPLE: [_name(part) for part in label]}
    raise UsageError(f"The label {label!r} cannot be saved: adapt with numbers, texts or tuples of them.")


def _label(name: Any) -> Any:
    return tuple(_label(part) for part in name[_TUPLE]) if isinstance(name, dict) else name
