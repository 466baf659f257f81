"""What the columns of a comparison mean, in a sentence or two."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from metamtl.comparison.columns import Column
from metamtl.comparison.compare import Comparison
from metamtl.runs.metric_names import DELTA_M, lower_is_better

_INTERVALS = {"ci_seeds": "± seeds for training again (t)", "ci_episodes": "± episodes for other tasks (1.96 se)"}


def legend(comparison: Comparison, columns: Sequence[Column]) -> Iterator[str]:
    """Sentences on the columns that are shown."""
    shown = {column.key for column in columns}
    if lower_is_better(comparison.metric):
        yield f"Less {comparison.metric} is better."
    if comparison.metric == DELTA_M:
        yield "delta_m: mean relative change of the families against each alone; more is better."
    intervals = [text for key, text in _INTERVALS.items() if key in shown]
    if intervals:
        yield f"95% intervals: {', '.join(intervals)}."
    tests = [row.test for row in comparison.rows if row.test is not None]
    if tests and shown & {"p", "p_wilcoxon"}:
        ranks = ", ranks: the signed-rank test" if "p_wilcoxon" in shown else ""
        many = f", Holm-corrected for {len(tests)} tests" if len(tests) > 1 else ""
        pairs = " or ".join(f"{count:,}" for count in sorted({test.pairs for test in tests}))
        what = "seeds" if comparison.metric == DELTA_M else "episodes"
        yield f"p: the paired t test over {pairs} {what}{ranks}{many}; * is below 0.05."
    yield from _of_families(comparison, shown)


def _of_families(comparison: Comparison, shown: set[str]) -> Iterator[str]:
    """Sentences on the columns that runs of several families alone have."""
    over = {f"{row.rank.families} families x {row.rank.seeds} seeds" for row in comparison.rows if row.rank}
    if over and "rank" in shown:
        yield f"mean rank: 1 is best, over the {' or '.join(sorted(over))} that all groups have; ties share."
    pairs = sorted({row.harm.pairs for row in comparison.rows if row.harm})
    if pairs and "negative_transfer" in shown:
        many = " or ".join(map(str, pairs))
        yield f"negative %: of {many} pairs of family and seed, those worse together than alone [95% Wilson]."
    if "step_ratio" in shown and not all(math.isnan(row.step_ratio) for row in comparison.rows):
        yield "x equal: ms/step against the group that differs by weighting=equal alone."
