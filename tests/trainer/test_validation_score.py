"""The score that selects the weights of several families: no family may outweigh the others by where it began."""

from __future__ import annotations

from typing import Any

import pytest

from metamtl.config.compose import compose
from metamtl.families import build_families
from metamtl.opening import open_sources
from metamtl.runs.result import Summary
from metamtl.trainer.validation import LEAST, _mean_change


def test_a_share_that_begins_at_nought_does_not_outweigh_the_others() -> None:
    config = compose(["experiment=multitask/digits4"])
    families: Any = build_families(config, open_sources(config))
    now = {name: Summary(mean=0.5, ci95=0.0, episodes=1) for name in families.each}
    before = {"digit": 0.0, "odd": 0.4, "large": 0.5, "prime": 1.0}
    assert _mean_change(families, now, before) == pytest.approx((0.5 / LEAST + 0.25 + 0 - 0.5) / 4)
