"""Which metric a comparison is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from metamtl.comparison.groups import Group
from metamtl.config.hints import did_you_mean, nearest
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.metric_names import DELTA_M, base_name, parted


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
            raise UsageError(
                f"{wanted}: no run has this figure{hint} There are {', '.join(whole(known))}{_types(known)}."
            )
        return wanted
    selected = Counter(metric for runs in counted for metric in runs[-1].selected_by)
    measured = Counter({metric: count for metric, count in known.items() if base_name(metric) not in ("loss", DELTA_M)})
    return (selected or measured or known).most_common(1)[0][0]


def whole(metrics: Iterable[str]) -> list[str]:
    """The figures that are not of a single type of things, such as `f1/album`, of which there may be dozens."""
    return [metric for metric in metrics if not parted(metric).type]


def _types(metrics: Collection[str]) -> str:
    single = len(metrics) - len(whole(metrics))
    return f", and {single} of single types" if single else ""
