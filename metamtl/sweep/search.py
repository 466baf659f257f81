"""How values are chosen and which trials end early.

Sampler: Bergstra et al. (2011), Algorithms for Hyper-Parameter Optimization (TPE). Pruners: the median rule, and
Li et al. (2018), Hyperband.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


def make_sampler(options: Mapping[str, Any], number: int) -> BaseSampler:
    """The sampler of trial `number`: its randomness is a function of (sweep.seed, number).

    So a study that was killed goes on with values of its own: one generator begun anew would repeat the first ones.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import RandomSampler, TPESampler

    digest = hashlib.sha256(f"{options['seed']}:{number}".encode()).digest()
    seed = int.from_bytes(digest[:4], "little")
    if options["sampler"] == "random":
        return RandomSampler(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # trials that run count as poor ones, so that workers do not try the same place at once
        return TPESampler(seed=seed, constant_liar=True)


def make_pruner(options: Mapping[str, Any], steps: int, validate_every: int) -> BasePruner:
    """The pruner of trials of so many outer updates, the steps of metrics.jsonl, between which validations lie."""
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if options["pruner"] == "median":
        return MedianPruner(n_startup_trials=5, n_warmup_steps=options["warmup"])
    if options["pruner"] == "hyperband":
        most = max(steps, 1)
        return HyperbandPruner(min_resource=min(validate_every, most), max_resource=most)
    return NopPruner()
