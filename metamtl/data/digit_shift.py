"""Digits of one origin with their labels, digits of another without: the shifts between handwritten digits.

The domains and their variants are those of `digit_domain`; the pairs are in the spirit of Ganin et al. (2016),
Domain-Adversarial Training of Neural Networks, JMLR 17, section 5.2.4.
"""

from __future__ import annotations

from metamtl.data.digit_domain import DigitDomain
from metamtl.data.shift import ShiftedSource
from metamtl.data.source import DataPaths
from metamtl.registry import register


@register("data", "digit_shift")
class DigitShift(ShiftedSource):
    """From `source` to `target`, which may also be turned, noisy or inverted, both at one size."""

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
        split_seed: int,
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
            )
            for domain, turned, noisy, inverted in (
                (source, 0.0, 0.0, False),
                (target, rotate, noise, invert),
            )
        )
        facts = {"source": plain.facts, "target": changed.facts}
        super().__init__(name=f"{plain.name}-to-{changed.name}", source=plain, target=changed, facts=facts)
