"""Groups of families by their affinities: the best of few, and near it of many."""

from __future__ import annotations

import itertools
import time

import pytest
import torch
from torch import Tensor

from metamtl.multitask import grouping
from metamtl.multitask.grouping import best_groups


def drawn(families: int, seed: int) -> Tensor:
    return torch.randn(families, families, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def onto_each(affinity: Tensor, groups: list[list[int]]) -> float:
    """The mean over families of the mean affinity of the others in its group onto it."""
    onto = [affinity[[other for other in group if other != item], item] for group in groups for item in group]
    return float(sum(others.mean() for others in onto if len(others))) / len(affinity)


def test_groups_are_those_that_help_one_another() -> None:
    affinity = torch.tensor([[1.0, -0.2, 0.5, -0.3], [-0.2, 1, -0.1, 0.4], [0.3, -0.3, 1, 0.1], [0.0, 0.2, -0.1, 1.0]])
    assert best_groups(affinity, 2) == [[0, 2], [1, 3]]
    assert best_groups(affinity, 1) == [[0, 1, 2, 3]]
    assert best_groups(-torch.ones(3, 3), 3) == [[0], [1], [2]]


@pytest.mark.parametrize("seed", range(3))
def test_groups_that_were_made_of_many_families_are_found_soon(seed: int) -> None:
    """Of 42 there are more divisions into three than could ever be tried."""
    made = torch.randint(3, (42,), generator=torch.Generator().manual_seed(seed))
    affinity = 0.1 * (made[:, None] == made).double() + 0.05 * drawn(42, seed)
    began = time.perf_counter()
    found = best_groups(affinity, 3)
    assert time.perf_counter() - began < 10
    assert found == sorted(torch.where(made == group)[0].tolist() for group in range(3))


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_search_finds_the_best_division_most_often(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On noise, where nothing leads the way; and never one that is far from it."""
    drawings = [drawn(8, seed) for seed in range(20)]
    best = [onto_each(affinity, best_groups(affinity, count)) for affinity in drawings]
    monkeypatch.setattr(grouping, "LISTED", 0)
    found = [best_groups(affinity, count) for affinity in drawings]
    assert all(len(groups) <= count and sorted(itertools.chain(*groups)) == list(range(8)) for groups in found)
    reached = [onto_each(affinity, groups) for affinity, groups in zip(drawings, found, strict=True)]
    assert sum(one >= other - 1e-9 for one, other in zip(reached, best, strict=True)) >= 13
    assert all(one >= 0.6 * other for one, other in zip(reached, best, strict=True))


def test_families_that_only_harm_stay_in_the_fewest_hands() -> None:
    """Two alone and the rest together, where three groups are the most; and each alone where there may be as many."""
    assert sorted(map(len, best_groups(-torch.ones(12, 12), 3))) == [1, 1, 10]
    assert best_groups(-torch.ones(12, 12), 12) == [[item] for item in range(12)]
    assert best_groups(torch.ones(12, 12), 1) == [list(range(12))]


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), -1e12])
def test_steps_after_which_a_loss_is_no_number_are_harm_and_end_the_search(value: float) -> None:
    for seed in range(10):
        affinity, generator = drawn(12, seed), torch.Generator().manual_seed(seed)
        affinity[tuple(torch.randint(12, (2, 3), generator=generator))] = value
        harmful = (~(affinity > -1e9)).nonzero().tolist()
        groups = best_groups(affinity, 6)
        assert not any(i != j and {i, j} <= set(group) for i, j in harmful for group in groups)
