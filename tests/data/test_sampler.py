"""Which items an episode holds: a pure function of its key and number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamtl.data.classes import ClassSource
from metamtl.data.sampler import EpisodeIndex, eval_key, train_key
from metamtl.data.source import Split, TaskShape
from tests.data.made import CLASSES, GROUPS, made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClassSource:
    return made(tmp_path_factory.mktemp("cache"), rotations=["train"])


@pytest.fixture(scope="module")
def alphabets(tmp_path_factory: pytest.TempPathFactory) -> ClassSource:
    return made(tmp_path_factory.mktemp("cache"), rotations=["train"], within_group=True)


def numbers(*chosen: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(chosen, dtype=np.int64)


def by_number(parts: list[EpisodeIndex]) -> dict[int, tuple[int, list[int], list[int], list[int], list[int]]]:
    return {
        int(one.episodes[t]): (
            one.ways,
            one.support[t].tolist(),
            one.support_y[t].tolist(),
            one.query[t].tolist(),
            one.query_y[t].tolist(),
        )
        for one in parts
        for t in range(len(one.episodes))
    }


SHAPES = st.builds(
    TaskShape,
    ways=st.one_of(st.integers(2, 8), st.sampled_from([(2, 8), (5, 5)])),
    shots=st.one_of(st.integers(1, 4), st.sampled_from([(1, 4), (2, 3)])),
    queries=st.integers(1, 5),
)


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, key=st.integers(0, 2**64 - 1), start=st.integers(0, 2**40), within=st.booleans())
def test_every_episode_is_sound_and_knows_nothing_of_its_neighbours(
    source: ClassSource, alphabets: ClassSource, shape: TaskShape, key: int, start: int, within: bool
) -> None:
    chosen = alphabets if within else source
    wanted = np.arange(start, start + 12)
    assert chosen.problems("train", shape) == []
    episodes = by_number(chosen.index("train", shape, wanted, key))
    assert sorted(episodes) == wanted.tolist()
    shuffled = np.random.default_rng(0).permutation(wanted)
    assert by_number(chosen.index("train", shape, shuffled, key)) == episodes
    assert by_number(chosen.index("train", shape, wanted[3:4], key))[start + 3] == episodes[start + 3]
    for ways, support, support_y, query, query_y in episodes.values():
        assert TaskShape.largest(shape.ways) >= ways
        both = support + query
        assert len(set(both)) == len(both)  # support and query disjoint, nothing twice
        assert sorted(set(support_y)) == list(range(ways)) == sorted(set(query_y))
        assert len(set(np.bincount(support_y))) == 1
        assert (np.bincount(query_y) == shape.queries).all()
        classes = chosen.labels(np.array(both)).tolist()
        assert len({*zip(support_y + query_y, classes, strict=True)}) == ways  # one label, one class


def test_labels_are_permuted_and_every_class_and_example_is_met(source: ClassSource) -> None:
    [found] = source.index("train", TaskShape(5, 1, 3), np.arange(4000), train_key(0))
    classes = source.labels(found.support)
    count = source.class_count("train")
    for label in range(5):  # no label leans to some classes
        shares = np.bincount(classes[:, label], minlength=count) / 4000
        assert shares.min() > 0.3 / count and shares.max() < 3 / count
    assert set(np.unique(found.query)) == set(source.items("train").tolist())


def test_support_and_query_examples_are_exchangeable(source: ClassSource) -> None:
    """An example is as likely in the support set as in the query set: none is kept for one of them."""
    [found] = source.index("train", TaskShape(5, 1, 1), np.arange(20_000), train_key(3))
    place = [
        np.bincount(items.reshape(-1) // 4 % 12, minlength=12) / items.size for items in (found.support, found.query)
    ]
    assert np.abs(place[0] - place[1]).max() < 0.01


def test_items_stay_in_their_split(source: ClassSource) -> None:
    splits: list[Split] = ["train", "val", "test"]
    for split in splits:
        allowed = set(source.items(split).tolist())
        for one in source.index(split, TaskShape(3, 2, 4), np.arange(300), 11):
            assert set(one.support.reshape(-1).tolist()) | set(one.query.reshape(-1).tolist()) <= allowed


def test_sizes_vary_over_their_whole_range_and_group_by_first_appearance(source: ClassSource) -> None:
    parts = source.index("train", TaskShape((2, 5), (1, 3), 2), np.arange(400), train_key(1))
    sizes = [(one.ways, one.support.shape[1] // one.ways) for one in parts]
    assert sorted(sizes) == [(ways, shots) for ways in range(2, 6) for shots in range(1, 4)]
    first = [int(one.episodes[0]) for one in parts]
    assert first == sorted(first) and first[0] == 0
    assert all((np.diff(one.episodes) > 0).all() for one in parts)
    assert max(len(one.episodes) for one in parts) < 80  # about 400 / 12 each


def test_within_group_all_classes_come_from_one_group(alphabets: ClassSource, source: ClassSource) -> None:
    def groups(chosen: ClassSource) -> list[set[str]]:
        [found] = chosen.index("train", TaskShape(4, 1, 1), np.arange(300), 5)
        names = chosen.class_names("train")
        return [{names[c].split("/")[0] for c in row} for row in chosen.labels(found.support)]

    inside = groups(alphabets)
    assert all(len(one) == 1 for one in inside)
    assert set.union(*inside) == set(GROUPS)  # and every group is met
    assert any(len(one) > 1 for one in groups(source))


def test_a_group_too_small_for_the_ways_is_never_drawn(tmp_path: Path) -> None:
    classes = [one for one in CLASSES if not one.startswith("b/")] + ["b/0", "b/1"]
    source = made(tmp_path, splits={"train": classes}, within_group=True)
    [found] = source.index("train", TaskShape(3, 1, 1), np.arange(300), 5)
    met = {source.class_names("train")[c][0] for c in np.unique(source.labels(found.support))}
    assert met == {"a", "c"}


def test_training_follows_the_seed_and_evaluation_does_not(source: ClassSource, alphabets: ClassSource) -> None:
    shape = TaskShape(5, 1, 3)
    assert train_key(0) != train_key(1)
    assert len({train_key(0), train_key(0, "pretrain"), train_key(0, "pretrain", "signs")}) == 3
    keys = {
        eval_key(0, source, "test", shape),
        eval_key(1, source, "test", shape),
        eval_key(0, alphabets, "test", shape),
        eval_key(0, source, "val", shape),
        eval_key(0, source, "test", TaskShape(4, 1, 3)),
        eval_key(0, source, "test", TaskShape(5, 2, 3)),
        eval_key(0, source, "test", TaskShape(5, (1, 2), 3)),
        train_key(0),
    }
    assert len(keys) == 8
    one, other = (by_number(source.index("train", shape, np.arange(20), train_key(seed))) for seed in (0, 1))
    assert not any(one[i] == other[i] for i in range(20))


def test_episodes_do_not_repeat(source: ClassSource) -> None:
    [found] = source.index("train", TaskShape(5, 1, 3), np.arange(5000), train_key(0))
    rows = np.concatenate([found.support, found.query], axis=1)
    assert len(np.unique(rows, axis=0)) == 5000


def test_no_episodes_are_no_groups(source: ClassSource) -> None:
    assert source.index("train", TaskShape(5, 1, 3), numbers(), 0) == []
