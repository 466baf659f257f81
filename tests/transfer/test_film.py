"""Modulation by a task's embedding: exact in inner loops, blind to order and names, absent at strength 0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import metamtl
from metamtl.algos.base import Learner
from metamtl.config.compose import compose
from metamtl.data.task import Examples, Task, TaskBatch
from metamtl.deploy.adapted import in_use, with_statistics
from metamtl.errors import UsageError
from metamtl.evaluation.run import evaluate_run
from metamtl.families import build_families
from metamtl.opening import open_sources
from metamtl.trainer.source import open_origin
from metamtl.transfer.film import FiLM
from metamtl.transfer.knowledge import Knowledge
from tests.engine.made import (
    DENSE,
    POOLED,
    RESIDUAL,
    Backbone,
    Method,
    anil,
    assert_close,
    batch_of,
    engine_of,
    fomaml,
    learner_of,
    maml,
    meta_gradient,
    protonet,
)
from tests.transfer.made import DIGITS, families_of, trained, with_source

by_name = pytest.mark.parametrize
WAVES = (
    *("algo=maml", "data=sinusoid", "backbone.hidden=[8]", "algo.inner_steps=2", "trainer.meta_batch=4"),
    *("trainer.device=cpu", "trainer.threads=1", "trainer.pictures=0", "trainer.precision=float64"),
)
ON = ("transfer=film", "transfer.film.embedding=6", "transfer.film.tasks=3")


def modulated(method: Method, backbone: Backbone, norm: str, strength: float = 1.0) -> Learner:
    """A learner whose modulation has left its beginnings, where it changes nothing."""
    learner = learner_of(method, backbone, norm, dtype=torch.float32)
    strategy = FiLM(strength=strength, embedding=4, examples=3, tasks=2)
    strategy.condition(learner.network, learner.family, backbone.shape, labelled=False)
    stirred(learner.double())
    return learner


def stirred(learner: Learner) -> None:
    generator = torch.Generator().manual_seed(7)
    if learner.network.film is not None:
        with torch.no_grad():
            for weight in learner.network.film.parameters():
                weight.copy_(0.5 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))


def central_differences(learner: Learner, batch: TaskBatch, step: float = 1e-6) -> Iterator[tuple[str, int, float]]:
    """The slope of the mean query loss at one entry of every tensor."""
    engine = engine_of(learner, "loop")
    for name, weight in learner.named_parameters():
        place = weight.numel() // 2
        entries, sides = weight.data.view(-1), []
        before = float(entries[place])
        for side in (step, -step):
            entries[place] = before + side
            sides.append(float(engine.evaluate([batch])["loss"].mean()))
        entries[place] = before
        yield name, place, (sides[0] - sides[1]) / (2 * step)


# ---- exactness ----


@by_name("norm", ["batch", "batch_support", "group"])
@by_name(
    ("method", "backbone"),
    [(maml(), POOLED), (maml(), DENSE), (anil(), DENSE), (protonet(), DENSE)],
    ids=lambda part: part.name,
)
def test_its_meta_gradient_is_that_of_central_differences(method: Method, backbone: Backbone, norm: str) -> None:
    learner, batch = modulated(method, backbone, norm), batch_of(backbone.shape, tasks=2)
    gradient = meta_gradient(engine_of(learner, "loop"), batch)
    largest = max(float(slope.abs().max()) for slope in gradient.values())
    for name, place, slope in central_differences(learner, batch):
        assert float(gradient[name].view(-1)[place]) == pytest.approx(slope, rel=1e-6, abs=1e-6 * largest), name
    for part in ("encoder.weight", "layers.0.g.weight", "layers.0.b.weight", "layers.1.g.weight"):
        assert float(gradient[f"network.film.{part}"].abs().max()) > 1e-6


@by_name("norm", ["batch", "batch_support", "running"])
@by_name(
    ("method", "backbone"),
    [(maml(), POOLED), (maml(), RESIDUAL), (fomaml(), DENSE), (anil(), POOLED), (protonet(), POOLED)],
    ids=lambda part: part.name,
)
def test_every_way_of_the_engine_gives_the_same(method: Method, backbone: Backbone, norm: str) -> None:
    learner, batch = modulated(method, backbone, norm), batch_of(backbone.shape)
    loop = meta_gradient(engine_of(learner, "loop"), batch)
    assert_close(meta_gradient(engine_of(learner, "vmap"), batch), loop)
    assert_close(meta_gradient(engine_of(learner, "vmap", examples=1, workers=2), batch), loop)
    for how in ("loop", "vmap"):
        assert_close(meta_gradient(engine_of(learner, how, memory="flat"), batch), loop)


# ---- what an embedding is ----


def figures_of(learner: Learner, task: Task) -> Tensor:
    learner.eval()
    with torch.no_grad(), learner.network.task(None, task.support):
        return learner.predict(learner.adapt(task.support), task.query.x)


def test_the_order_of_examples_and_the_names_of_classes_mean_nothing() -> None:
    learner = modulated(protonet(), DENSE, "none")
    task = batch_of(DENSE.shape).task(0)
    order, names = torch.tensor([5, 0, 3, 1, 4, 2]), torch.tensor([2, 0, 1])
    support = task.support
    turned = Examples(support.x[order], names[support.labels[order]], support.ways)  # type: ignore[index]
    network = learner.network
    torch.testing.assert_close(network.embedding(turned), network.embedding(support), rtol=1e-12, atol=1e-12)
    there, here = figures_of(learner, task), figures_of(learner, Task(turned, task.query, task.number))
    torch.testing.assert_close(here[:, names], there, rtol=1e-10, atol=1e-10)


def test_numbers_that_are_labels_are_part_of_it(tmp_path: Path) -> None:
    config = compose([*WAVES, *ON])
    learner = build_families(config, open_sources(config)).first.learner
    support = Examples(torch.randn(5, 1).double(), torch.randn(5, 1).double())
    other = Examples(support.x, support.labels + 1)
    assert not torch.equal(learner.network.embedding(support), learner.network.embedding(other))


def test_it_is_h_times_one_plus_s_g_of_z_plus_s_b_of_z() -> None:
    learner = modulated(protonet(), DENSE, "none", strength=0.7)
    network, film = learner.network, learner.network.film
    assert film is not None
    x, support = torch.randn(4, 5).double(), Examples(torch.randn(6, 5).double(), torch.arange(6) % 3, 3)
    with torch.no_grad():
        z = (network.backbone(support.x) @ film.encoder.weight.T + film.encoder.bias).relu().mean(0)
        h = x
        for block, layer in zip(network.backbone.layers, film.films, strict=True):  # type: ignore[arg-type]
            h = (block[0](h) * (1 + 0.7 * layer.g(z)) + 0.7 * layer.b(z)).relu()
        with network.task(None, support):
            torch.testing.assert_close(network.query(x, head=False), h)


def test_each_task_is_modulated_by_its_own_support_set() -> None:
    learner, task = modulated(maml(inner_steps=0), DENSE, "none"), batch_of(DENSE.shape).task(0)
    moved = Task(task.support.map(lambda t: t + 1 if t.is_floating_point() else t), task.query, task.number)
    assert not torch.allclose(figures_of(learner, task), figures_of(learner, moved))
    network = learner.network
    with pytest.raises(UsageError, match="modulated by the support set of a task"):
        network.query(task.query.x)


# ---- runs ----


def learnt(run: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["learner"]
    return found


@by_name("data", [DIGITS, WAVES], ids=["digits", "waves"])
def test_strength_zero_is_bit_identical_to_none(data: tuple[str, ...], tmp_path: Path) -> None:
    none = learnt(trained(tmp_path / "none", *data, "transfer=none", "trainer.steps=3"))
    zero = learnt(trained(tmp_path / "zero", *data, *ON, "transfer.film.strength=0", "trainer.steps=3"))
    some = learnt(trained(tmp_path / "some", *data, *ON, "trainer.steps=3"))
    assert zero.keys() == none.keys() and all(torch.equal(tensor, none[name]) for name, tensor in zero.items())
    assert any(not torch.equal(some[name], tensor) for name, tensor in none.items())
    assert some.keys() > none.keys()


def test_strength_zero_carries_what_finetune_carries(source: Path, tmp_path: Path) -> None:
    plain = [*with_source("finetune", source), "transfer.finetune.backbone_rate=1"]
    none = learnt(trained(tmp_path / "none", *DIGITS, *plain, "trainer.steps=3"))
    zero = [*with_source("film", source), "transfer.film.strength=0"]
    found = learnt(trained(tmp_path / "zero", *DIGITS, *zero, "trainer.steps=3"))
    assert all(torch.equal(tensor, none[name]) for name, tensor in found.items())


def test_embeddings_of_a_chain_of_tasks_are_saved_and_loaded(tmp_path: Path) -> None:
    first = trained(tmp_path / "a", *WAVES, *ON, "trainer.steps=3")
    second = trained(tmp_path / "b", *WAVES, *ON, f"transfer.source={first}", "trainer.steps=2", "seed=1")
    second = second.rename(second.with_name(first.name))  # as runs of one second in two folders are called
    known = Knowledge.load(second / "knowledge.pt").embeddings
    assert [name.partition("@")[0] for name in known] == [first.name] * 3
    assert [name.rpartition("/")[2] for name in known] == ["0", "1", "2"]
    assert all(z.shape == (6,) for z in known.values()) and not torch.equal(*list(known.values())[:2])
    families = families_of(tmp_path / "c", *WAVES, *ON, f"transfer.source={second}")
    (made,) = (tmp_path / "c").glob("*/knowledge.pt")
    chained = Knowledge.load(made).embeddings
    assert len(chained) == 6 and all(torch.equal(chained[name], z) for name, z in known.items())
    carried, theirs = families.first.learner.network.state_dict(), open_origin(second).parameters
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in carried.items() if name.startswith("film."))


def test_the_one_task_of_labelled_examples_is_a_sample_that_is_saved(source: Path, tmp_path: Path) -> None:
    run = trained(tmp_path, *DIGITS, *with_source("film", source), "transfer.film.examples=7", "trainer.steps=3")
    config = compose([*DIGITS])
    stored = next(iter(open_sources(config).values()))
    kept = learnt(run)["network.film.x"]
    train = torch.from_numpy(stored.gather(stored.items("train"))).double()  # type: ignore[attr-defined]
    assert kept.shape == (7, 6) and all(bool((train == one).all(1).any()) for one in kept)
    assert Knowledge.load(run / "knowledge.pt").embeddings == {}  # the source has no task encoder
    after = trained(tmp_path / "on", *DIGITS, *with_source("film", run), "transfer.film.examples=7", "trainer.steps=1")
    (name,) = Knowledge.load(after / "knowledge.pt").embeddings
    assert name.partition("@")[0] == run.name
    evaluate_run(run)
    (again,) = run.glob("eval/*/result.json")
    assert json.loads(again.read_text())["test"] == json.loads((run / "result.json").read_text())["test"]


def test_more_examples_than_there_are_come_in_turn(tmp_path: Path) -> None:
    few = [*DIGITS, "data.labels=10", *ON, "transfer.film.examples=25"]
    network = families_of(tmp_path, *few).first.learner.network
    assert network.film is not None
    x = network.film.x
    assert isinstance(x, Tensor) and torch.equal(x[:10], x[10:20]) and len(torch.unique(x, dim=0)) == 10


def test_a_run_is_adapted_saved_and_used_with_its_support_set(tmp_path: Path) -> None:
    run = trained(tmp_path, *WAVES, *ON, "trainer.steps=3")
    model = metamtl.load(run, device="cpu")
    stirred(model.parts.learner)
    x, y = torch.linspace(-3, 3, 8)[:, None].numpy(), torch.linspace(-3, 3, 8).sin()[:, None].numpy()
    one, other = model.regress(x, y), model.regress(x, 2 * y)
    assert abs(one.predict(x) - other.predict(x)).max() > 1e-3
    support = Examples(torch.from_numpy(x), torch.from_numpy(y))
    parts = with_statistics(model.parts, transductive=False)
    with in_use(parts, support):
        wanted = parts.learner.predict(parts.learner.adapt(support), support.x)
    torch.testing.assert_close(torch.from_numpy(one.predict(x)).float().view(-1, 1), wanted, rtol=1e-4, atol=1e-5)


@by_name("name", ["ewc", "linear_probe", "lwf"])
def test_other_strategies_go_with_it_from_a_source_that_has_none(name: str, source: Path, tmp_path: Path) -> None:
    chosen = [f"transfer=[{name},film]", f"transfer.source={source}", "trainer.steps=1"]
    found, known = learnt(trained(tmp_path, *DIGITS, *chosen)), open_origin(source).parameters
    moved = {name for name, tensor in known.items() if not torch.equal(found[f"network.{name}"], tensor)}
    assert ("backbone.layers.0.0.weight" in moved) == (name != "linear_probe")
    assert any(tensor.abs().max() > 0 for key, tensor in found.items() if key.startswith("network.film.layers."))


# ---- refusals ----


@by_name(
    ("overrides", "said"),
    [
        (("algo=baseline", "data=glyphs"), "trains on minibatches of all classes"),
        (("algo=reptile", "data=sinusoid"), "has no gradient of it"),
        (("algo=lamaml", "data=digits"), "has no gradient of it"),
        (("algo=chance", "data=glyphs"), "has no gradient of it"),
    ],
)
def test_methods_that_cannot_train_it(overrides: tuple[str, ...], said: str, cache: Path) -> None:
    config = compose([*overrides, *ON, f"paths.cache={cache}", "trainer.device=cpu"])
    with pytest.raises(UsageError, match=said):
        build_families(config, open_sources(config))


def test_a_modulated_source_is_no_teacher_and_gives_its_backbone_to_a_modulated_target_alone(tmp_path: Path) -> None:
    run = trained(tmp_path, *DIGITS, *ON, "trainer.steps=2")
    with pytest.raises(UsageError, match="a teacher has no task"):
        families_of(tmp_path / "kd", *DIGITS, *with_source("kd", run))
    with pytest.raises(UsageError, match=r"transfer=\[finetune,film\]"):
        families_of(tmp_path / "tune", *DIGITS, *with_source("finetune", run))
    both = ("transfer=[finetune,film]", "transfer.film.embedding=6", f"transfer.source={run}")
    families_of(tmp_path / "both", *DIGITS, *both)
