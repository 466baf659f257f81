"""A model of any method with its first weights, without a run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.config.compose import compose
from metamtl.deploy.adapted import build_for_use
from metamtl.deploy.model import Model
from metamtl.deploy.origin import SETTINGS

SIDE, CLASSES = 16, 3
INPUTS: dict[str, Any] = {
    "name": "made",
    "kind": "classification",
    "fingerprint": "0" * 64,
    "shape": [1, SIDE, SIDE],
    "output_size": None,
    "labelled": False,
    "train_classes": 6,
    "preprocessing": {"size": SIDE, "channels": "grey", "mean": [0.2], "std": [0.4]},
    "background": "dark",
}
ORIGIN: dict[str, Any] = {
    "run": "made",
    "command": ["metamtl", "train"],
    "versions": {},
    "git": None,
    "seed": 0,
    "weights": {"step": 0, "sha256": None},
    "data": {},
    "figures": {},
}


def made_model(algo: str, *overrides: str, **inputs: Any) -> Model:
    """A small network on pictures of SIDE pixels, with a head for CLASSES ways."""
    words = [f"algo={algo}", "data=glyphs", "backbone.width=4", "backbone.blocks=2", f"task.ways={CLASSES}"]
    config = compose([*words, f"trainer.task.ways={CLASSES}", *overrides])
    settings = {key: config[key] for key in SETTINGS}
    recorded = {**INPUTS, **inputs}
    return Model(build_for_use(settings, recorded, "cpu"), recorded, ORIGIN, [])


def drawings(seed: int, shots: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Sparse patterns of CLASSES classes under noise, `shots` of each, and the names of their classes."""
    patterns = np.random.default_rng(7).random((CLASSES, SIDE, SIDE)) < 0.2
    noise = np.random.default_rng(seed).integers(0, 56, (CLASSES, shots, SIDE, SIDE))
    x = (patterns[:, None] * 200 + noise).astype(np.uint8).reshape(-1, SIDE, SIDE)
    return x, [f"class {c}" for c in range(CLASSES) for _ in range(shots)]
