"""What a metric's name tells: which way is better, whether it is a share, whether people read it in percent."""

from __future__ import annotations

_LOWER_IS_BETTER = frozenset({"loss", "error", "mse", "rmse", "mae", "nll", "ece", "mce", "brier", "perplexity"})
_PERCENT = frozenset({"accuracy"})
_SHARES = _PERCENT | {"iou", "f1", "precision", "recall", "pixel_accuracy", "average_precision"}


def lower_is_better(metric: str) -> bool:
    """Whether the smaller figure wins; the family's name, as in `road/mse`, does not matter."""
    return base_name(metric) in _LOWER_IS_BETTER


def in_percent(metric: str) -> bool:
    """Whether a figure is a share that people read in percent."""
    return base_name(metric) in _PERCENT


def is_share(metric: str) -> bool:
    """Whether a figure lies between 0 and 1, and can share an axis of percents with others that do."""
    return base_name(metric) in _SHARES


def base_name(metric: str) -> str:
    """The metric without its family: `mse` of `road/mse`."""
    return metric.rpartition("/")[2]
