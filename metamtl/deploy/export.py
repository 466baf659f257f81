"""Programs that run without metamtl: `torch.export` (.pt2) and ONNX, checked against the live model on new inputs.

A folder of them holds `predictor.pt2` and `predictor.onnx`, for metric learners `embedding.pt2` and `embedding.onnx`,
`export.json` (classes, threshold, preprocessing, agreement) and `MODEL_CARD.md`. Any batch size goes in.

An exported predictor treats each example alone. One that normalises examples by those beside it would answer
otherwise for every batch, so it is not exported: batch statistics are those of the support set.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from metamtl.build import Parts
from metamtl.deploy.adapted import Adapted, in_use
from metamtl.deploy.card import Agreement, model_card
from metamtl.deploy.model import Model
from metamtl.deploy.predictor import Predictor
from metamtl.deploy.programs import Classifier, Embedding, Function, embedding_of
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.files import clear_disk_errors, write_atomic, write_json

TOLERANCE = 1e-5  # of the larger of 1 and the value
BATCHES = (1, 2, 5, 33)  # on which programs are checked; they are traced at another size
TRACED = 3

Live = Callable[[NDArray[Any]], tuple[NDArray[Any], ...]]


def export(adapted: Adapted, folder: Path, predictor: Predictor[Any] | None) -> None:
    """Writes the programs of an adapted model, of a classifier where `predictor` is given, and its card to `folder`.

    Raises UsageError where `folder` exists, the model is not on the CPU or predicts examples together, MetamtlError
    where a package is missing, the learner cannot be exported or a program disagrees; nothing is then left.
    """
    _refuse(folder, adapted.parts)
    if adapted.transductive:
        raise UsageError(
            "This predictor normalises the examples that are predicted together, so there is no program for one: adapt "
            "without transductive=True, which takes the statistics of the support set."
        )
    embedding = embedding_of(adapted.parts, adapted.state)
    with _settled(folder) as place:
        agreements = [_predictor(adapted, predictor, place)]
        agreements += [_embedding(adapted.parts, adapted.inputs, embedding, place)] if embedding else []
        _describe(place, adapted.inputs, adapted.origin, adapted.parts, agreements, predictor)


def export_embedding(model: Model, folder: Path) -> None:
    """Writes the embedding of a metric learner and its card to `folder`; raises as `export` does.

    UsageError where the learner has no embedding of single examples.
    """
    _refuse(folder, model.parts)
    embedding = embedding_of(model.parts)
    if embedding is None:
        name = model.parts.config["algo"]["name"]
        raise UsageError(f"algo={name} has nothing to export before it has adapted: give --support DIR.")
    with _settled(folder) as place:
        agreements = [_embedding(model.parts, model.inputs, embedding, place)]
        _describe(place, model.inputs, model.origin, model.parts, agreements, None)


def _predictor(adapted: Adapted, predictor: Predictor[Any] | None, place: Path) -> Agreement:
    def live(x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        outputs = adapted.outputs(x)
        return (outputs.softmax(1).numpy(), outputs.amax(1).numpy()) if predictor else (outputs.numpy(),)

    module = Classifier(adapted) if predictor else Function(adapted)
    names = ["probabilities", "score"] if predictor else ["values"]
    return _program(module, adapted.parts, adapted.inputs, live, names, place / "predictor")


def _embedding(parts: Parts, inputs: Mapping[str, Any], embedding: Embedding, place: Path) -> Agreement:
    def live(x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        with in_use(parts):
            prepared = parts.preparation.inputs(x)
            return (parts.learner.network.query(prepared, statistics=embedding.statistics, head=False).numpy(),)

    return _program(embedding, parts, inputs, live, ["features"], place / "embedding")


def _program(
    module: nn.Module, parts: Parts, inputs: Mapping[str, Any], live: Live, outputs: list[str], stem: Path
) -> Agreement:
    """Writes both forms of a module and compares them with the live model."""
    traced = torch.from_numpy(_examples(inputs, TRACED))
    try:
        with in_use(parts), _quiet():
            program = torch.export.export(module.eval(), (traced,), dynamic_shapes=({0: torch.export.Dim("batch")},))
            torch.export.save(program, stem.with_suffix(".pt2"))
            onnx = torch.onnx.export(
                program, dynamo=True, input_names=["x"], output_names=outputs, external_data=False, verbose=False
            )
            assert onnx is not None
            onnx.save(stem.with_suffix(".onnx"), external_data=False)
    except Exception as error:  # whatever the two exporters raise for an operation that they do not know
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise MetamtlError(f"algo={parts.config['algo']['name']} cannot be exported: {said}") from error
    found = {suffix: 0.0 for suffix in (".pt2", ".onnx")}
    for suffix, run in ((".pt2", _torch(stem)), (".onnx", _onnx(stem))):
        for size in BATCHES:
            x = _examples(inputs, size)
            found[suffix] = max(found[suffix], *map(_difference, run(x), live(x)))
    if (worst := max(found.values())) > TOLERANCE or not np.isfinite(worst):
        raise MetamtlError(
            f"The exported {stem.name} differs from the live model by {worst:.2g}, more than {TOLERANCE:g}: it is not "
            "kept."
        )
    return Agreement(stem.name, outputs, found)


def _torch(stem: Path) -> Live:
    module = torch.export.load(stem.with_suffix(".pt2")).module()

    def run(x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        with torch.no_grad():
            outputs: tuple[Tensor, ...] = module(torch.from_numpy(x))
        return tuple(output.numpy() for output in outputs)

    return run


def _onnx(stem: Path) -> Live:
    session = import_module("onnxruntime").InferenceSession(
        str(stem.with_suffix(".onnx")), providers=["CPUExecutionProvider"]
    )
    return lambda x: tuple(session.run(None, {"x": x}))


def _difference(found: NDArray[Any], live: NDArray[Any]) -> float:
    return float((np.abs(found - live) / np.maximum(1, np.abs(live))).max())


def _examples(inputs: Mapping[str, Any], count: int) -> NDArray[Any]:
    """New inputs: sparse blots where the data is drawings on one background, noise for photographs and numbers."""
    rng, shape = np.random.default_rng(count), tuple(inputs["shape"])
    if "size" not in inputs["preprocessing"]:
        return rng.standard_normal((count, *shape)).astype(np.float32)
    channels, height, width = shape
    if inputs["background"] not in ("dark", "light"):
        return rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    coarse = rng.random((count, channels, height // 2 + 1, width // 2 + 1)) < 0.2
    ink = coarse.repeat(2, 2).repeat(2, 3)[..., :height, :width]
    return np.where(ink == (inputs["background"] == "dark"), 255, 0).astype(np.uint8)


def _describe(
    place: Path,
    inputs: dict[str, Any],
    origin: dict[str, Any],
    parts: Parts,
    agreements: list[Agreement],
    predictor: Predictor[Any] | None,
) -> None:
    facts = {
        "run": origin["run"],
        "classes": predictor and [str(one) for one in predictor.classes],
        "threshold": predictor and asdict(predictor.threshold),
        "inputs": inputs,
        "programs": {
            one.program: {"outputs": one.outputs, "largest_difference": one.differences} for one in agreements
        },
    }
    write_json(place / "export.json", facts)
    card = model_card(origin, inputs, parts.config, agreements, predictor)
    write_atomic(place / "MODEL_CARD.md", card.encode())


def _refuse(folder: Path, parts: Parts) -> None:
    if folder.exists():
        raise UsageError(f"{folder} exists already: choose another name.")
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise MetamtlError(f"Exporting needs {' and '.join(missing)}: pip install 'metamtl[export]'.")
    if parts.device.type != "cpu":
        raise UsageError("Programs are exported from the CPU: load with device='cpu'.")


@contextmanager
def _settled(folder: Path) -> Iterator[Path]:
    """A folder beside its place, which it takes when all that belongs in it is there."""
    with clear_disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield place
            place.chmod(0o755)  # a temporary folder is its owner's alone
            place.rename(folder)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' notes on their own future."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
