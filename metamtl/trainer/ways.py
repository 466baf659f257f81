"""Tasks of more ways at test than training ever shows."""

from __future__ import annotations

import logging

from metamtl.build import Parts
from metamtl.data.source import TaskShape

_logger = logging.getLogger(__name__)


def warn_of_untrained_outputs(parts: Parts) -> None:
    """A head has an output for each way of the test's tasks, and those that no training task has stay as drawn."""
    trained, tested = (TaskShape.largest(shape.ways) for shape in (parts.train_shape, parts.test_shape))
    if parts.learner.stages and parts.learner.learns_ways and parts.family.classes and tested > trained:
        _logger.warning(
            "task.ways=%d: training shows %d ways at most, so %d outputs of algo=%s are tested as they were drawn; "
            "give trainer.task.ways=%d too.",
            *(tested, trained, tested - trained, parts.config["algo"]["name"], tested),
        )
