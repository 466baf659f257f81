"""Outputs of a frozen encoder are looked up where an example comes again, and are those that it would make."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from metamtl.backbones import recall
from metamtl.backbones.hf import PretrainedEncoder
from metamtl.backbones.recall import anew
from metamtl.backbones.vectorised import vectorised
from metamtl.build import Parts, build_parts
from metamtl.config.compose import compose
from metamtl.data.opening import open_source
from metamtl.data.sampler import train_key
from metamtl.data.task import Examples
from metamtl.errors import UsageError
from tests.backbones.test_hf import encoder, saved
from tests.data.test_clinc150 import official as write_queries
from tests.data.test_tokens import write_pieces

transformers = pytest.importorskip("transformers", reason="pip install 'metamtl[text]'")
__all__ = ["saved"]
ROWS = torch.tensor([[3, 8, 9, 4, 0, 0], [3, 10, 4, 0, 0, 0], [5, 6, 7, 8, 9, 10], [2, 0, 0, 0, 0, 0]])


@pytest.fixture
def frozen(saved: Path) -> Iterator[tuple[PretrainedEncoder, list[int]]]:
    """A frozen encoder, and how many rows it has been asked to encode, block by block."""
    network = encoder(saved, frozen=True, projection=3)
    asked: list[int] = []
    encode = network._states

    def states(x: Tensor) -> Tensor:
        asked.append(len({tuple(row) for row in x.tolist()}))
        made: Tensor = encode(x)
        return made

    network._states = states  # type: ignore[method-assign]
    yield network, asked


def kept_of(network: PretrainedEncoder) -> dict[bytes, Tensor]:
    (table,) = network._recall[False]._tables.values()
    return table.rows


def test_an_example_is_encoded_once(frozen: tuple[PretrainedEncoder, list[int]]) -> None:
    network, asked = frozen
    with anew():
        wanted = network(ROWS)
    asked.clear()
    torch.testing.assert_close(network(ROWS[:3]), wanted[:3], rtol=1e-12, atol=1e-14)
    assert asked == [3]
    torch.testing.assert_close(network(ROWS[[3, 0, 3, 2]]), wanted[[3, 0, 3, 2]], rtol=1e-12, atol=1e-14)
    assert asked == [3, 1]
    torch.testing.assert_close(network(ROWS), wanted, rtol=1e-12, atol=1e-14)
    assert asked == [3, 1]
    network.of_words = True
    assert network(ROWS).shape == (4, 6, 3) and asked == [3, 1, 4]
    network.of_words = False
    assert network(ROWS).requires_grad  # by the layer on top


def test_tasks_together_look_up_as_tasks_alone(frozen: tuple[PretrainedEncoder, list[int]]) -> None:
    network, asked = frozen
    tasks = torch.stack([ROWS[:2], ROWS[1:3], ROWS[2:]])

    def one(x: Tensor, number: Tensor) -> Tensor:
        with vectorised(number):
            features: Tensor = network(x)
        return features

    together = torch.vmap(one)(tasks, torch.arange(3))
    assert asked == [4]
    with anew():
        torch.testing.assert_close(together, torch.stack([network(x) for x in tasks]), rtol=1e-12, atol=0)


def test_other_weights_are_another_encoder(frozen: tuple[PretrainedEncoder, list[int]]) -> None:
    network, asked = frozen
    before = network(ROWS)
    with torch.no_grad():
        next(network.encoder.parameters()).mul_(1.5)
    assert not torch.allclose(network(ROWS), before) and asked == [4, 4]
    assert network.float()(ROWS).dtype == torch.float32 and asked == [4, 4, 4]
    assert len(network._recall[False]._tables) == recall.TABLES


def test_two_encoders_of_other_weights_have_a_table_each(frozen: tuple[PretrainedEncoder, list[int]]) -> None:
    network, _ = frozen
    other = copy.deepcopy(network)
    with torch.no_grad():
        next(other.encoder.parameters()).mul_(1.5)
    for _ in range(2):
        with anew():
            wanted = network(ROWS), other(ROWS)
        torch.testing.assert_close((network(ROWS), other(ROWS)), wanted, rtol=1e-12, atol=1e-14)
    assert len(network._recall[False]._tables) == 2


def test_a_recorder_records_the_encoder(frozen: tuple[PretrainedEncoder, list[int]]) -> None:
    network, _ = frozen
    network(ROWS)
    for pre_dispatch in (False, True):
        recorded = make_fx(lambda x: network(x), pre_dispatch=pre_dispatch)(ROWS)
        torch.testing.assert_close(recorded(ROWS.flip(0)), network(ROWS.flip(0)), rtol=1e-12, atol=1e-14)


def test_weights_of_several_tasks_are_not_looked_up(saved: Path) -> None:
    network = encoder(saved, frozen=True)
    weights = {n: w.detach() for n, w in network.named_parameters()}
    last = list(weights)[-1]

    def one(weight: Tensor) -> Tensor:
        features: Tensor = torch.func.functional_call(network, {**weights, last: weight}, (ROWS,))
        return features

    assert torch.vmap(one)(torch.stack([weights[last], 2 * weights[last]])).shape == (2, 4, 12)


def test_copies_share_what_is_kept_and_nothing_is_sent(frozen: tuple[PretrainedEncoder, list[int]]) -> None:
    network, _ = frozen
    network(ROWS)
    kept = network._recall[False]
    assert len(kept_of(network)) == 4
    assert copy.deepcopy(kept) is kept and not pickle.loads(pickle.dumps(kept))._tables


def test_no_more_is_kept_than_there_is_room_for(
    frozen: tuple[PretrainedEncoder, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = frozen
    monkeypatch.setattr(recall, "BLOCK", 2)
    monkeypatch.setattr(recall, "LIMIT", 3 * (12 * 8 + 6 * 8 + recall.A_ROW))  # three rows of 12 numbers and their keys
    wanted = network(ROWS)
    assert torch.equal(network(ROWS), wanted) and torch.equal(network(ROWS), wanted)
    assert len(kept_of(network)) == 2


def test_who_counts_operators_finds_all_of_them(frozen: tuple[PretrainedEncoder, list[int]]) -> None:
    network, asked = frozen
    network(ROWS)
    with FlopCounterMode(display=False) as counter:
        network(ROWS)
    assert asked == [4, 4] and counter.get_total_flops() > 0


def test_bits_do_not_depend_on_company_or_padding_that_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # sizes that the processor's vectors divide, as those of all encoders that are published
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.BertModel(transformers.BertConfig(vocab_size=20, **sizes)).save_pretrained(tmp_path)
    network = encoder(tmp_path, frozen=True).float()
    monkeypatch.setattr(recall, "LENGTHS", 2)
    for of_words in (False, True):
        network.of_words = of_words
        with anew():
            wanted = network(ROWS)
        together = network(ROWS)
        real = ROWS > 0 if of_words else torch.ones(4, dtype=torch.bool)
        torch.testing.assert_close(together[real], wanted[real], rtol=1e-5, atol=1e-6)
        for number in (2, 0, 3, 1):
            network._recall[of_words] = recall.Recall()
            assert torch.equal(network(ROWS[number : number + 1])[0], together[number])


# ---- under learners ----


def parts_of(saved: Path, folder: Path, *changes: str) -> Parts:
    write_queries(folder)
    write_pieces(saved)
    overrides = ("data=clinc150", "backbone=hf", f"backbone.model={saved}", "data.length=8", "trainer.device=cpu")
    small = ("task.ways=3", "task.queries=2", "trainer.meta_batch=2", f"paths.data={folder}", f"paths.cache={folder}")
    config: dict[str, Any] = compose([*overrides, *small, "trainer.precision=float64", *changes])
    return build_parts(config, open_source(config))


@pytest.mark.parametrize("algo", ["maml", "anil", "protonet", "reptile", "metasgd", "mamlpp"])
def test_learners_take_the_same_updates_and_leave_the_encoder_alone(saved: Path, tmp_path: Path, algo: str) -> None:
    small = ("backbone.projection=4", "trainer.task.shots=1", "trainer.workers=1")  # in this thread, which is told anew
    parts = parts_of(saved, tmp_path, f"algo={algo}", *small)
    parts.learner.train()
    (arrays,) = parts.source.episodes("train", parts.train_shape, np.arange(2), train_key(0))
    batch = parts.preparation.batch(arrays)
    with anew():
        wanted = parts.engine.meta_gradient([batch]).gradient
    found = parts.engine.meta_gradient([batch]).gradient
    assert any(g.abs().max() > 0 for g in wanted.values())
    for name, g in wanted.items():
        torch.testing.assert_close(found[name], g, rtol=1e-9, atol=1e-12)
        assert ".encoder." not in name
    inner = getattr(parts.learner, "inner_names", [])
    assert not any(".encoder." in name for name in inner)


def test_inner_steps_that_change_nothing_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="adapt=body: the backbone is frozen"):
        parts_of(saved, tmp_path, "algo=boil")


def test_later_generations_learn_over_the_encoder_as_it_was(saved: Path, tmp_path: Path) -> None:
    parts = parts_of(saved, tmp_path, "algo=rfs", "algo.generations=1", "backbone.projection=4")
    learner = parts.learner.train()
    before = {name: weight.clone() for name, weight in learner.network.named_parameters()}
    learner.begin_stage(learner.stages[-1].name)
    for name, weight in learner.network.named_parameters():
        assert name not in learner.network.constants or torch.equal(weight, before[name]), name
    assert not torch.equal(
        learner.network.get_parameter("backbone.projection.weight"), before["backbone.projection.weight"]
    )
    x, y = torch.tensor([[3, 8, 9, 4, 0, 0, 0, 0], [3, 10, 4, 0, 0, 0, 0, 0]]), torch.tensor([0, 1])
    loss, _ = learner.minibatch_loss(Examples(x, y, 3))
    assert torch.isfinite(loss)


def test_la_maml_learns_no_rates_of_the_encoder(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamtl.build._refuse_new_tasks", lambda *given: None)  # they stand for labelled ones
    learner = parts_of(saved, tmp_path, "algo=lamaml", "backbone.projection=4").learner
    trained = [weight for weight in learner.parameters() if weight.requires_grad]
    assert sum(weight.numel() for weight in trained) == 2 * sum(
        weight.numel() for weight in learner.network.parameters() if weight.requires_grad
    )
