"""Tasks of more ways, or of other lengths, than training shows."""

from __future__ import annotations

from typing import Any

import pytest

from metamtl.build import Parts, build_parts
from metamtl.config.compose import compose
from metamtl.data.opening import open_source
from metamtl.errors import UsageError
from metamtl.trainer.ways import warn_of_untrained_outputs

WIDER = ("task.ways=10", "trainer.task.ways=5")


def parts_of(*changes: str) -> Parts:
    small = ["backbone.width=4", "trainer.device=cpu"]
    config: dict[str, Any] = compose(["data=glyphs", *small, *changes])
    return build_parts(config, open_source(config))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("algo=maml", *WIDER), True),
        (("algo=metanet", *WIDER), True),
        (("algo=maml", "algo.head_init=prototype", *WIDER), False),
        (("algo=protonet", *WIDER), False),
        (("algo=baseline", *WIDER), False),
        (("algo=chance", *WIDER), False),
        (("algo=maml", "task.ways=5", "trainer.task.ways=10"), False),
        (("algo=maml", "task.ways=10"), False),
    ],
)
def test_outputs_that_no_training_task_has_are_told(
    changes: tuple[str, ...], told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_untrained_outputs(parts_of(*changes))
    assert [record.getMessage() for record in caplog.records] == told * [
        f"task.ways=10: training shows 5 ways at most, so 5 outputs of {changes[0]} are tested as they were drawn; "
        "give trainer.task.ways=10 too."
    ]


def test_the_sequential_protocol_refuses_tasks_of_several_lengths() -> None:
    sequential = ("algo=mann", "algo.protocol=sequential", "backbone.norm=group")
    with pytest.raises(UsageError, match=r"algo.protocol=sequential needs tasks of one length: give task.shots"):
        parts_of(*sequential, "task.shots=[1,5]")
    parts_of("algo=mann", "task.shots=[1,5]")
