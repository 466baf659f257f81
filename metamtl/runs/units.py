"""How figures are shown to people, everywhere: shares in percent, all others as they are.

Files and programs (result.json, metrics.jsonl, CSV, JSON) have shares between 0 and 1.
"""

from __future__ import annotations

import math

from metamtl.runs.metric_names import in_percent


def scale_of(metric: str) -> float:
    """What a figure is multiplied by before it is shown."""
    return 100.0 if in_percent(metric) else 1.0


def unit_of(metric: str) -> str:
    """`%` or nothing."""
    return "%" if in_percent(metric) else ""


def titled(metric: str) -> str:
    """A heading over bare numbers: `accuracy %`, `mse`."""
    return f"{metric} {unit_of(metric)}".rstrip()


def bare(metric: str, value: float, half: float = math.nan, sign: bool = False) -> str:
    """`98.10 ± 0.20` of a share, `0.1447` of another figure, under a heading that tells the unit.

    No interval where `half` is NaN; with `sign`, gains have a plus.
    """
    scale, digits = scale_of(metric), 2 if in_percent(metric) else _digits(value)
    shown = f"{scale * value:{'+' if sign else ''}.{digits}f}"
    return shown if math.isnan(half) else f"{shown} ± {scale * half:.{digits}f}"


def _digits(value: float) -> int:
    """Four, or as many as three significant ones take: a small error is not nothing."""
    size = abs(value)
    return 4 if not 0 < size < 0.01 else min(2 - math.floor(math.log10(size)), 12)


def readable(metric: str, value: float, half: float = math.nan, sign: bool = False) -> str:
    """The same in a sentence, with its unit: `98.10% ± 0.20`."""
    mean, _, interval = bare(metric, value, half, sign).partition(" ")
    return f"{mean}{unit_of(metric)} {interval}".rstrip()


def short(metric: str, value: float) -> str:
    """A figure that changes while one looks: `81.3%`, `0.7231`."""
    return f"{100 * value:.1f}%" if in_percent(metric) else f"{value:.4g}"
