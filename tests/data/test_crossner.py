"""Few-shot tasks of finding entities, and CrossNER: made files in the official form, and the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metamtl.algos.centroid import Centroid
from metamtl.algos.protonet import ProtoNet
from metamtl.backbones.text import TextEncoder
from metamtl.config.compose import compose
from metamtl.data.crossner import DOMAINS, CrossNER
from metamtl.data.crossner_domain import CrossNERDomain
from metamtl.data.labelled import family_of
from metamtl.data.sampler import eval_key
from metamtl.data.source import DataPaths, EpisodeArrays, Split, TaskShape
from metamtl.data.tagging import EntityTasks
from metamtl.data.task import Examples
from metamtl.errors import UsageError
from metamtl.runs.result import read_result
from metamtl.trainer.run import train_run
from tests.data.image_files import real

SPLITS: tuple[Split, ...] = ("train", "val", "test")
SHAPE = TaskShape(2, 1, 2)


def official(folder: Path, sentences: int = 4) -> Path:
    """Of each domain three types of entity, each in `sentences` sentences of a file, some beside another type."""
    for domain in DOMAINS:
        for part in ("train", "dev", "test"):
            lines: list[str] = []
            for n in range(sentences):
                for kind in ("person", "place", "thing"):
                    name = f"{domain}{kind}{part}{n}"
                    lines += [f"{domain}\tO", f"{name}\tB-{kind}", f"{name}s\tI-{kind}", f"{part}{n}\tB-person", ""]
            file = folder / "ner_data" / domain / f"{part}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines))
    return folder


def source(folder: Path, **options: Any) -> CrossNER:
    splits = {"train": ["politics", "science", "music"], "val": ["literature"], "test": ["ai"]}
    made = {**splits, "vocabulary": 1000, "length": 5, **options}
    return CrossNER(paths=DataPaths(folder, folder / "cache"), **made)


def drawn(made: CrossNER, numbers: Sequence[int], shape: TaskShape = SHAPE, key: int = 3) -> EpisodeArrays:
    (group,) = made.episodes("test", shape, np.array(numbers), key)
    return group


def test_a_task_has_sentences_with_each_of_its_types(tmp_path: Path) -> None:
    tasks = drawn(source(official(tmp_path)), range(20))
    assert tasks.support_x.shape == (20, 2, 5, 20) and tasks.query_y.shape == (20, 4, 5) and tasks.ways == 3
    for x, y, shots in ((tasks.support_x, tasks.support_y, 1), (tasks.query_x, tasks.query_y, 2)):
        assert ((y >= 0) == (x[..., 0] > 0)).all() and y.max() == 2
        for way in range(2):
            of_way = y[:, way * shots : (way + 1) * shots]
            assert (of_way == way + 1).any(2).all()  # each sentence was drawn for its type
    every = np.concatenate([tasks.support_x, tasks.query_x], 1).reshape(20, 6, -1)
    assert all(len(np.unique(task, axis=0)) == 6 for task in every)


def test_a_task_depends_on_its_number_and_key_alone(tmp_path: Path) -> None:
    made = source(official(tmp_path))
    every, one = drawn(made, range(6)), drawn(source(tmp_path), [4])
    for name in ("support_x", "support_y", "query_x", "query_y"):
        assert np.array_equal(getattr(every, name)[4], getattr(one, name)[0])
    assert not np.array_equal(drawn(made, range(6), key=4).support_x, every.support_x)
    ranges = made.episodes("test", TaskShape((2, 3), (1, 2), 1), np.arange(12), 3)
    assert sorted(n for group in ranges for n in group.episodes) == list(range(12))
    assert {group.ways for group in ranges} == {3, 4} and len(ranges) == 4


def test_tasks_of_other_ways_are_other_test_tasks(tmp_path: Path) -> None:
    made = source(official(tmp_path))
    keys = {eval_key(0, made, "test", TaskShape(ways, 1, 2)) for ways in (1, 2, 3)}
    assert len(keys) == 3 and eval_key(0, made, "test", TaskShape(2, 1, 2)) in keys


def test_types_are_a_domain_s_own_and_impossible_tasks_are_refused(tmp_path: Path) -> None:
    made = source(official(tmp_path))
    assert made.facts["domains"]["test"] == {"ai": ["person", "place", "thing"]}
    assert made.problems("test", SHAPE) == []
    (problem,) = made.problems("test", TaskShape(4, 1, 2))
    assert "no domain with 4 types of entities in 12 sentences each; ai allows task.ways=3" in problem
    assert made.problems("test", TaskShape(2, 9, 9))


def test_splits_share_no_sentence_and_no_domain(tmp_path: Path) -> None:
    official(tmp_path)
    shared = "same\tO\nwords\tB-person\n\n"
    for domain in ("politics", "ai"):
        file = tmp_path / "ner_data" / domain / "train.txt"
        file.write_text(shared + file.read_text())
    made = source(tmp_path)
    assert made.facts["copies"] == 1 and made.facts["sentences"]["test"] == {"ai": 37}
    with pytest.raises(UsageError, match="a domain may be in one of them alone"):
        source(tmp_path, val=["ai"])
    with pytest.raises(UsageError, match="'sport' is no domain of CrossNER; there are politics"):
        source(tmp_path, val=["sport"])
    with pytest.raises(UsageError, match=r"needs politics/train\.txt and 2 other files .* git clone"):
        source(tmp_path / "ner_data" / "ai")


def test_minibatches_hold_the_words_of_every_domain(tmp_path: Path) -> None:
    """A type of one name is one label in whichever domain; 0 is no entity, and -1 no word."""
    official(tmp_path)
    for file in (tmp_path / "ner_data" / "science").iterdir():
        file.write_text(file.read_text().replace("-place", "-city"))
    made = source(tmp_path)
    assert [made.class_count(split) for split in SPLITS] == [1 + 4, 1 + 3, 1 + 3]
    items = [made.items(split) for split in SPLITS]
    assert sorted(np.concatenate(items).tolist()) == list(range(sum(map(len, items))))
    chosen, labels = made.minibatch("train", len(items[0]), 0, key=3)
    assert np.array_equal(np.sort(chosen), items[0]) and not np.array_equal(chosen, items[0])  # an epoch has each once
    assert labels.shape == (len(chosen), 5) and np.array_equal(labels >= 0, made.gather(chosen)[..., 0] > 0)
    count = made.facts["sentences"]["train"]
    of_domain = np.split(labels[np.argsort(chosen)], np.cumsum([count["politics"], count["science"]]))
    city, person, place, thing = range(1, 5)
    found = [set(of.ravel().tolist()) for of in of_domain]
    assert found == [{-1, 0, person, place, thing}, {-1, 0, city, person, thing}, {-1, 0, person, place, thing}]
    other, _ = made.minibatch("train", 7, 2, key=3)
    assert np.array_equal(made.minibatch("train", 7, 2, key=3)[0], other)
    assert not np.array_equal(made.minibatch("train", 7, 2, key=4)[0], other)
    assert family_of(made, SHAPE).classes == 5


def test_a_tagger_is_pretrained_and_tested_on_an_unseen_domain(tmp_path: Path) -> None:
    """A whole run of a supervised baseline with the rates of its recipe, in entity figures."""
    official(tmp_path)
    small = ["task.ways=2", "task.shots=1", "task.queries=2", "trainer.steps=4", "trainer.validate_every=2"]
    small += ["eval.episodes=3", "eval.val_episodes=3", "eval.gap_episodes=0", "trainer.pictures=0", "data.length=5"]
    small += ["backbone.vocabulary=500", "backbone.width=8", "algo.head_epochs=2", "trainer.device=cpu"]
    places = [f"paths.data={tmp_path}", f"paths.cache={tmp_path}", f"paths.outputs={tmp_path / 'outputs'}"]
    config = compose(["algo=baseline", "data=crossner", *small, *places])
    assert config["algo"]["head_batch"] == 400
    run = train_run(config, ["metamtl", "train"])
    assert run is not None
    assert read_result(run)["test"].keys() >= {"f1", "precision", "recall"}


def test_a_rule_on_features_is_fitted_to_words(tmp_path: Path) -> None:
    """Prototypes are means over the words of a label; padding is of none."""
    made = source(official(tmp_path))
    tasks = drawn(made, [0])
    family = family_of(made, SHAPE)
    assert isinstance(family, EntityTasks) and family.outputs == 3
    torch.manual_seed(0)
    network = TextEncoder(input_shape=(5, 20), vocabulary=1000, width=4, blocks=0, readout="both", norm="none")
    learner = ProtoNet(distance="euclidean", scale=1.0, backbone=network, family=family, norm="none").eval()
    support = Examples(torch.from_numpy(tasks.support_x[0]), torch.from_numpy(tasks.support_y[0]).long(), 3)
    state = learner.adapt(support)
    features = network(support.x)
    for label in range(3):
        torch.testing.assert_close(state.rule[label], features[support.labels == label].mean(0))
    query = Examples(torch.from_numpy(tasks.query_x[0]), torch.from_numpy(tasks.query_y[0]).long(), 3)
    outputs = learner.predict(state, query.x)
    assert outputs.shape == (4, 5, 3) and family.metrics(outputs, query).keys() >= {"f1", "accuracy"}
    with pytest.raises(UsageError, match="algo=centroid compares whole examples, not words"):
        Centroid(backbone=network, family=family, norm="none")


def test_entities_of_a_task_are_runs_of_one_type() -> None:
    family = EntityTasks("made", 3)
    labels = torch.tensor([[1, 1, 0, 2, -1], [0, 2, 2, 1, 0]])
    found = torch.tensor([[1, 1, 0, 2, 3], [0, 2, 0, 1, 0]])
    outputs = torch.nn.functional.one_hot(found, 4).double()
    outputs[..., 3] += 9  # an output that this task of two ways has no label for
    figures = family.metrics(outputs, Examples(outputs, labels, ways=3))
    assert figures["precision"] == figures["recall"] == figures["f1"] == 3 / 4
    # of a minibatch all types of training count, which are more than those of a task
    few = EntityTasks("made", 1, classes=3)
    assert few.ways == 1 and few.metrics(outputs, Examples(outputs, labels, ways=3)) == figures
    nothing = torch.nn.functional.one_hot(torch.zeros_like(found), 4).double()
    assert family.metrics(nothing, Examples(nothing, labels, ways=3))["f1"] == 0


def test_the_real_sentences(tmp_path: Path) -> None:
    paths = DataPaths(real("crossner").parent, tmp_path)
    options: dict[str, Any] = {"train": ["politics", "science", "music"], "val": ["literature"], "test": ["ai"]}
    made = CrossNER(paths=paths, vocabulary=16384, **options)
    assert made.facts["texts_cut"] == 0
    types = {domain: len(names) for split in SPLITS for domain, names in made.facts["domains"][split].items()}
    assert types == {"politics": 9, "science": 17, "music": 13, "literature": 12, "ai": 14}
    sentences = {domain: count for split in SPLITS for domain, count in made.facts["sentences"][split].items()}
    total = {"politics": 1392, "science": 1193, "music": 945, "literature": 916, "ai": 881}
    assert sum(sentences.values()) + made.facts["copies"] == sum(total.values()) and sentences["ai"] == 881
    assert made.problems("test", TaskShape(5, 5, 5)) == []
    assert [made.class_count(split) for split in SPLITS] == [1 + 26, 1 + 12, 1 + 14]
    ai = CrossNERDomain(paths=paths, domain="ai", vocabulary=16384)
    assert [len(ai.items(split)) for split in ("val", "test")] == [350 - 3, 431] and ai.output_size == 29
