"""Which metric a comparison is of, and how its figures are shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from metamtl.comparison.groups import Group
from metamtl.config.hints import did_you_mean, nearest
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.metric_names import base_name, in_percent


def chosen_metric(groups: Iterable[Group], wanted: str | None = None) -> str:
    """`wanted`, or the metric by which most groups selected.

    Raises UsageError where no group has it, MetamtlError where no group is finished.
    """
    counted = [group.counted[-1] for group in groups if group.counted]
    known = Counter(metric for record in counted for metric in record.figures)
    if not known:
        raise MetamtlError("Nothing to compare yet: none of these runs is finished.")
    if wanted is not None:
        if wanted not in known:
            hint = did_you_mean(nearest(wanted, known))
            raise UsageError(f"{wanted}: no run has this figure{hint} There are {', '.join(known)}.")
        return wanted
    selected = Counter(metric for record in counted for metric in record.validation if metric in record.figures)
    measured = Counter({metric: count for metric, count in known.items() if base_name(metric) != "loss"})
    return (selected or measured or known).most_common(1)[0][0]


def readable(metric: str, value: float, half: float = math.nan) -> str:
    """`98.10 ± 0.20` of a share in percent, `0.1447` of another figure; no interval where it is NaN."""
    scale, digits = (100.0, 2) if in_percent(metric) else (1.0, 4)
    shown = f"{scale * value:.{digits}f}"
    return shown if math.isnan(half) else f"{shown} ± {scale * half:.{digits}f}"
