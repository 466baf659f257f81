"""What the columns of a comparison mean, in a sentence or two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metamtl.comparison.columns import Column
from metamtl.comparison.compare import Comparison
from metamtl.runs.metric_names import lower_is_better

_INTERVALS = {"ci_seeds": "± seeds for training again (t)", "ci_episodes": "± episodes for other tasks (1.96 se)"}


def legend(comparison: Comparison, columns: Sequence[Column]) -> Iterator[str]:
    """Sentences on the columns that are shown."""
    shown = {column.key for column in columns}
    if lower_is_better(comparison.metric):
        yield f"Less {comparison.metric} is better."
    intervals = [text for key, text in _INTERVALS.items() if key in shown]
    if intervals:
        yield f"95% intervals: {', '.join(intervals)}."
    tests = [row.test for row in comparison.rows if row.test is not None]
    if tests and shown & {"p", "p_wilcoxon"}:
        ranks = ", ranks: the signed-rank test" if "p_wilcoxon" in shown else ""
        many = f", Holm-corrected for {len(tests)} tests" if len(tests) > 1 else ""
        pairs = " or ".join(f"{count:,}" for count in sorted({test.pairs for test in tests}))
        yield f"p: the paired t test over {pairs} episodes{ranks}{many}; * is below 0.05."
