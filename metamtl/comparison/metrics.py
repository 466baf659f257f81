"""Which metric a comparison is of, and how its figures are shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from metamtl.comparison.delta import DELTA_M
from metamtl.comparison.groups import Group
from metamtl.comparison.record import RunRecord
from metamtl.config.hints import did_you_mean, nearest
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.metric_names import base_name, in_percent
from metamtl.runs.result import Result


def chosen_metric(groups: Iterable[Group], wanted: str | None = None) -> str:
    """`wanted`, or the metric by which most groups selected.

    Raises UsageError where no group has it, MetamtlError where no group is finished.
    """
    counted = [group.counted for group in groups if group.counted]
    known = Counter(
        metric for runs in counted for metric in dict.fromkeys(name for run in runs for name in run.figures)
    )
    if not known:
        raise MetamtlError("Nothing to compare yet: none of these runs is finished.")
    if wanted is not None:
        if wanted not in known:
            hint = "; train with references=auto." if wanted == DELTA_M else did_you_mean(nearest(wanted, known))
            raise UsageError(f"{wanted}: no run has this figure{hint} There are {', '.join(known)}.")
        return wanted
    selected = Counter(metric for runs in counted for metric in _selected_by(runs[-1]))
    measured = Counter({metric: count for metric, count in known.items() if base_name(metric) not in ("loss", DELTA_M)})
    return (selected or measured or known).most_common(1)[0][0]


def _selected_by(record: RunRecord) -> list[str]:
    """The test figures of the metrics by which a run selected its weights; of several families those of each."""
    families = (record.result or Result()).get("families", {})
    names = [*record.validation, *(f"{name}/{one.get('metric')}" for name, one in families.items())]
    return [name for name in dict.fromkeys(names) if name in record.measured]


def read_in_percent(metric: str) -> bool:
    """Whether a figure is a share that people read in percent."""
    return metric == DELTA_M or in_percent(metric)


def readable(metric: str, value: float, half: float = math.nan) -> str:
    """`98.10 ± 0.20` of a share in percent, `0.1447` of another figure; no interval where it is NaN."""
    scale, digits = (100.0, 2) if read_in_percent(metric) else (1.0, 4)
    shown = f"{scale * value:.{digits}f}"
    return shown if math.isnan(half) else f"{shown} ± {scale * half:.{digits}f}"
