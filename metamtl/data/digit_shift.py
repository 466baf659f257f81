"""Digits of one origin with their labels, digits of another without: the shifts between handwritten digits.

The domains and their variants are those of `digit_domain`; the pairs are in the spirit of Ganin et al. (2016),
Domain-Adversarial Training of Neural Networks, JMLR 17, section 5.2.4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metamtl.data.digit_domain import DigitDomain
from metamtl.data.examples import ExampleSource
from metamtl.data.random import key_of, uniform
from metamtl.data.shift import ShiftedSource
from metamtl.data.source import DataPaths
from metamtl.registry import register


@register("data", "digit_shift")
class DigitShift(ShiftedSource):
    """From `source` to `target`, which may also be turned, noisy or inverted, both at one size.

    `bias` selects the source's examples: one whose ink lies z standard deviations from the mean is known with chance
    1 / (1 + exp(bias z)), so that thin digits prevail; with equal domains that is all that tells them apart. `labels`
    is how many of the source's training examples are known, and `val_labels` of those that weights are selected on;
    with equal domains that is semi-supervised learning.
    """

    def __init__(
        self,
        *,
        paths: DataPaths,
        source: str,
        target: str,
        size: int,
        rotate: float,
        noise: float,
        invert: bool,
        bias: float,
        labels: int | None,
        split_seed: int,
        val_labels: int | None = None,
    ) -> None:
        plain, changed = (
            DigitDomain(
                paths=paths,
                domain=domain,
                full=False,
                size=size,
                digits=None,
                rotate=turned,
                noise=noisy,
                invert=inverted,
                permute=None,
                split_seed=split_seed,
                labels=known,
                val_labels=known_val,
            )
            for domain, turned, noisy, inverted, known, known_val in (
                (source, 0.0, 0.0, False, labels, val_labels),
                (target, rotate, noise, invert, None, None),
            )
        )
        facts = {"source": plain.facts, "target": changed.facts}
        name = f"{plain.name}-to-{changed.name}" + ("-biased" if bias else "")
        selected = thin_ones(plain, bias, split_seed) if bias else None
        super().__init__(name=name, source=plain, target=changed, facts={**facts, "bias": bias}, selected=selected)


def thin_ones(source: ExampleSource, bias: float, seed: int) -> NDArray[np.bool_]:
    """Which examples [N] of a source a selection by little ink keeps."""
    count = 1 + max(int(source.items(split).max()) for split in ("train", "val", "test"))
    pictures = source.gather(np.arange(count))
    assert isinstance(pictures, np.ndarray)
    ink = pictures.reshape(count, -1).mean(1)
    chance = 1 / (1 + np.exp(bias * (ink - ink.mean()) / ink.std()))
    kept: NDArray[np.bool_] = uniform(key_of("bias", seed), np.arange(count)) < chance
    return kept
