"""What a metric's name tells: its family, its kind and its type, which way is better, and whether it is a share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_LOWER_IS_BETTER = frozenset({"loss", "error", "mse", "rmse", "mae", "nll", "ece", "mce", "brier", "perplexity"})
_SHARES = frozenset(
    {"accuracy", "pixel_accuracy", "iou", "f1", "precision", "recall", "average_precision", "outside_auroc"}
)
DELTA_M = "delta_m"  # the mean relative change of several families, see metamtl.comparison.delta
_KNOWN = _LOWER_IS_BETTER | _SHARES | {DELTA_M}


class MetricName(NamedTuple):
    """`slots/f1/album` in its parts: `family` and `type` are empty where the name has none."""

    family: str
    kind: str
    type: str


def parted(metric: str, families: Iterable[str] = ()) -> MetricName:
    """The parts of a name; `families` are those of its run, without which the known kinds of figures tell them.

    Of a kind that nobody knows the last part is it, as in `road/my_figure`.
    """
    parts = metric.split("/")
    owner = max((one for one in families if metric.startswith(f"{one}/")), key=len, default=None)
    if owner is not None:
        place = owner.count("/") + 1
    else:
        place = next((place for place, part in enumerate(parts) if part in _KNOWN), len(parts) - 1)
    return MetricName("/".join(parts[:place]), parts[place], "/".join(parts[place + 1 :]))


def lower_is_better(metric: str) -> bool:
    """Whether the smaller figure wins; the family's name, as in `road/mse`, does not matter."""
    return base_name(metric) in _LOWER_IS_BETTER


def in_percent(metric: str) -> bool:
    """Whether a figure is shown in percent: every share is, and the relative change `delta_m`."""
    return base_name(metric) in _SHARES or base_name(metric) == DELTA_M


def base_name(metric: str) -> str:
    """The metric without its family and its type: `mse` of `road/mse`, `f1` of `slots/f1/album`."""
    return parted(metric).kind
