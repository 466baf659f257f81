"""What is known of a metric by its name: which way is better, and whether people read it in percent."""

from __future__ import annotations

_LOWER_IS_BETTER = frozenset({"loss", "error", "mse", "rmse", "mae", "nll", "ece", "mce", "brier", "perplexity"})
_PERCENT = frozenset({"accuracy"})


def lower_is_better(metric: str) -> bool:
    """Whether the smaller figure wins; the family's name, as in `road/mse`, does not matter."""
    return base_name(metric) in _LOWER_IS_BETTER


def in_percent(metric: str) -> bool:
    """Whether a figure is a share that people read in percent."""
    return base_name(metric) in _PERCENT


def base_name(metric: str) -> str:
    """The metric without its family: `mse` of `road/mse`."""
    return metric.rpartition("/")[2]
