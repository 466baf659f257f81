"""Each strategy does what its formula says, on values that are worked out another way."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from metamtl.backbones.mlp import MLP
from metamtl.backbones.norm import BatchNorm
from metamtl.data.family import Classification
from metamtl.data.task import Examples
from metamtl.engine.network import Network
from metamtl.errors import UsageError
from metamtl.trainer.run import resume_run
from metamtl.trainer.source import open_origin
from metamtl.transfer.agem import projected
from metamtl.transfer.attention import attention
from metamtl.transfer.base import Origin, Trained
from metamtl.transfer.coral import Correlation
from metamtl.transfer.ewc import fisher_diagonal
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.memory import remembered
from metamtl.transfer.mmd import Discrepancy
from metamtl.transfer.rkd import angles, distances
from metamtl.transfer.si import Path as WalkedPath
from tests.transfer.made import DIGITS, families_of, terms_of, trained, view_of, with_source


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_knowledge_is_saved_and_loaded_on_its_own(tmp_path: Path) -> None:
    record = Knowledge(
        {"backbone.w": normal(2, 3)},
        {"backbone.w": normal(2, 3, seed=1)},
        {"outputs": 3, "classes": [0, 2]},
        {"task": normal(4)},
        {"x": normal(5, 2), "y": torch.arange(5)},
        {"families": normal(2, 2)},
        {"run": "one"},
    )
    record.save(tmp_path / "knowledge.pt")
    found = Knowledge.load(tmp_path / "knowledge.pt")
    assert found.provenance == record.provenance and found.teacher == record.teacher
    for part in ("parameters", "importance", "embeddings", "replay", "affinity"):
        torch.testing.assert_close(getattr(found, part), getattr(record, part), rtol=0, atol=0)


def test_finetune_carries_the_backbone_and_leaves_the_head(source: Path, tmp_path: Path) -> None:
    network = families_of(tmp_path, *DIGITS, *with_source("finetune", source)).first.learner.network
    known = open_origin(source).parameters
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, known[name]) == name.startswith("backbone.")


def test_a_checkpoint_and_knowledge_are_sources_too(source: Path, tmp_path: Path) -> None:
    last = families_of(tmp_path / "a", *DIGITS, *with_source("finetune", source / "checkpoints" / "last.pt"))
    weights = last.first.learner.network.state_dict()
    (made,) = (tmp_path / "a").glob("*/knowledge.pt")
    again = families_of(tmp_path / "b", *DIGITS, *with_source("finetune", made))
    content = torch.load(source / "checkpoints" / "last.pt", weights_only=True)["learner"]
    name = "backbone.layers.0.0.weight"
    assert torch.equal(weights[name], content[f"network.{name}"])
    assert torch.equal(again.first.learner.network.state_dict()[name], weights[name])


def test_a_linear_probe_leaves_the_backbone_until_its_step(source: Path, tmp_path: Path) -> None:
    chosen = [*DIGITS, *with_source("linear_probe", source), "transfer.linear_probe.unfreeze_at=3"]
    run = trained(tmp_path, *chosen, "trainer.steps=3", "trainer.optimizer.weight_decay=0.1")
    known, name = open_origin(source).parameters, "backbone.layers.0.0.weight"
    assert torch.equal(open_origin(run / "checkpoints" / "last.pt").parameters[name], known[name])
    assert not torch.equal(open_origin(run / "checkpoints" / "last.pt").parameters["head.weight"], known["head.weight"])
    resume_run(run, ["trainer.steps=4"])
    assert not torch.equal(open_origin(run / "checkpoints" / "last.pt").parameters[name], known[name])


def test_l2sp_is_half_the_squared_distance(source: Path, tmp_path: Path) -> None:
    parts = families_of(tmp_path, *DIGITS, *with_source("l2sp", source)).first
    weights = dict(parts.learner.network.named_parameters())
    moved = {name: w.detach() + (0.5 if name.startswith("backbone.") else 0.0) for name, w in weights.items()}
    count = sum(w.numel() for name, w in weights.items() if name.startswith("backbone."))
    head = sum(float(w.square().sum()) for name, w in weights.items() if name.startswith("head."))
    found = float(terms_of(parts)["l2sp"].value(view_of(parts, moved)))
    assert found == pytest.approx(0.5 * 0.25 * count + 0.5 * 0.1 * head, rel=1e-12)


def linear_classifier() -> tuple[Network, Examples]:
    head = nn.Linear(3, 4).double()
    backbone = nn.Identity()
    backbone.features = 3  # type: ignore[assignment]
    with torch.no_grad():
        head.weight.copy_(normal(4, 3))
        head.bias.copy_(normal(4, seed=1))
    return Network(backbone, head, "none").eval(), Examples(normal(6, 3, seed=2), torch.tensor([0, 1, 2, 3, 0, 1]), 4)


def test_the_exact_fisher_of_a_linear_classifier_is_known() -> None:
    """For logits W x the diagonal is the mean of p_c (1 - p_c) x_j^2."""
    network, examples = linear_classifier()
    assert isinstance(examples.x, torch.Tensor)
    trained_one = Trained(network, Classification("made", 4), (3,), lambda count: examples)
    found = fisher_diagonal(trained_one, "exact", 6)
    p = network.query(examples.x).softmax(1).detach()
    wanted = torch.einsum("nc,nj->cj", p * (1 - p), examples.x.square()) / 6
    torch.testing.assert_close(found["head.weight"], wanted, rtol=1e-10, atol=1e-12)
    own = fisher_diagonal(trained_one, "empirical", 6)["head.weight"]
    hot = nn.functional.one_hot(examples.labels, 4)
    torch.testing.assert_close(own, torch.einsum("nc,nj->cj", (hot - p).square(), examples.x.square()) / 6)


def test_importance_where_batches_are_normalised_is_by_the_statistics_of_all_examples() -> None:
    torch.manual_seed(0)
    backbone, head = MLP(input_shape=(3,), hidden=[4], norm="batch"), nn.Linear(4, 4)
    network = Network(backbone, head, "batch").double().eval()
    examples = Examples(normal(6, 3), torch.arange(6) % 4)
    assert isinstance(examples.x, torch.Tensor)
    trained_one = Trained(network, Classification("made", 4), (3,), lambda count: examples)
    found = fisher_diagonal(trained_one, "empirical", 6)
    linear, norm = backbone.get_submodule("layers.0.0"), backbone.get_submodule("layers.0.1")
    assert isinstance(linear, nn.Linear) and isinstance(norm, BatchNorm)
    every = linear(examples.x).detach()
    mean, deviation = every.mean(0), (every.var(0, correction=0) + 1e-5).sqrt()
    wanted = torch.zeros_like(linear.weight)
    for x, y in zip(examples.x, examples.labels, strict=True):
        h = (norm.weight * (linear(x) - mean) / deviation + norm.bias).relu()
        (slope,) = torch.autograd.grad(head(h).log_softmax(0)[y], linear.weight)
        wanted += slope.square() / 6
    assert float(wanted.max()) > 1e-3
    torch.testing.assert_close(found["backbone.layers.0.0.weight"], wanted, rtol=1e-9, atol=1e-12)


def test_agem_takes_out_what_the_memory_speaks_against() -> None:
    g, r = {"w": normal(4), "b": normal(2, seed=1)}, {"w": normal(4, seed=2), "b": normal(2, seed=3)}
    along = sum(float((g[name] * r[name]).sum()) for name in g)
    against = {name: -math.copysign(1.0, along) * values for name, values in g.items()}
    found = projected(against, r)
    assert sum(float((found[name] * r[name]).sum()) for name in g) == pytest.approx(0, abs=1e-12)
    same = {name: -values for name, values in against.items()}
    assert all(torch.equal(values, same[name]) for name, values in projected(same, r).items())


def test_relations_do_not_change_with_scale_or_rotation() -> None:
    x = normal(6, 3)
    turned = 2.5 * x @ torch.linalg.qr(normal(3, 3, seed=1)).Q + 4.0
    torch.testing.assert_close(distances(turned), distances(x), rtol=1e-9, atol=1e-5)  # the diagonal is no zero
    torch.testing.assert_close(angles(turned), angles(x), rtol=1e-9, atol=1e-9)
    assert float(angles(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))[0, 1, 2]) == pytest.approx(0, abs=1e-6)
    assert not torch.allclose(distances(x * torch.tensor([1.0, 2.0, 3.0])), distances(x))


@pytest.mark.parametrize("kind", [Discrepancy, Correlation])
def test_equal_samples_are_no_distance_apart(kind: type[Discrepancy] | type[Correlation]) -> None:
    x, term = normal(20, 3), kind(1.0)
    assert float(term.between(x, x.flip(0))) == pytest.approx(0, abs=1e-12)
    assert float(term.between(x, 2 * x)) > 1e-3


def test_coral_of_two_points_is_known() -> None:
    one, other = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [4.0]])  # variances 2 and 8
    assert float(Correlation(1.0).between(one, other)) == pytest.approx((2 - 8) ** 2 / 4)


def test_averaging_is_the_mean_and_a_soup_keeps_what_helps(source: Path, tmp_path: Path) -> None:
    worse = trained(tmp_path / "worse", *DIGITS, "trainer.steps=1", "seed=5", "trainer.optimizer.lr=3.0")
    changes = ["data.digits=[0,1,2,3,4]", f"transfer.source=[{worse},{source}]"]
    mean = families_of(tmp_path / "m", *DIGITS, "transfer=fedavg", *changes).first.learner.network.state_dict()
    both, name = [open_origin(run).parameters for run in (worse, source)], "backbone.layers.0.0.weight"
    torch.testing.assert_close(mean[name], (both[0][name] + both[1][name]) / 2)
    families_of(tmp_path / "s", *DIGITS, "transfer=soup", "transfer.soup.head=true", *changes)
    (made,) = (tmp_path / "s").glob("*/knowledge.pt")
    record = Knowledge.load(made).provenance["soup"]
    assert record["kept"][0] == source.name and record["score"] >= record["best_alone"]


def test_a_soup_of_backbones_is_chosen_without_heads(tmp_path: Path) -> None:
    """Heads of another question, of one size with the target's or not, say nothing of a backbone."""
    features = trained(tmp_path / "a", *DIGITS, "backbone.hidden=[16]", "trainer.steps=200")
    bad = ["trainer.steps=1", "trainer.optimizer.lr=30.0", "data.target=prime"]
    useless = trained(tmp_path / "b", *DIGITS, "backbone.hidden=[16]", *bad)
    chosen = ["transfer=soup", f"transfer.source=[{useless},{features}]", "backbone.hidden=[16]"]
    for target in ("digit", "odd"):
        families_of(tmp_path / target, *DIGITS, *chosen, f"data.target={target}")
        (made,) = (tmp_path / target).glob("*/knowledge.pt")
        known = Knowledge.load(made)
        record = known.provenance["soup"]
        assert record["kept"] == [features.name] and record["score"] > 0.6
        assert not any(name.startswith("head.") for name in known.parameters)
    with pytest.raises(UsageError, match="has other weights than"):
        families_of(tmp_path / "heads", *DIGITS, *chosen, "transfer.soup.head=true")


@pytest.mark.parametrize(("name", "few"), [("lora", "rank=1"), ("meta_transfer", None)])
def test_changed_layers_begin_as_the_source_and_learn_few_numbers(
    name: str, few: str | None, source: Path, tmp_path: Path
) -> None:
    options = [f"transfer.{name}.{few}"] if few else []
    parts = families_of(tmp_path, *DIGITS, *with_source(name, source), *options).first
    plain = families_of(tmp_path / "plain", *DIGITS, *with_source("finetune", source)).first
    x = normal(4, 6)
    own, theirs = (one.learner.network.query(x, head=False) for one in (parts, plain))
    torch.testing.assert_close(own, theirs, rtol=1e-12, atol=1e-12)
    assert not any(key.endswith(".original") for key, _ in parts.learner.network.named_parameters())
    counted = sum(w.numel() for key, w in parts.learner.network.named_parameters() if key.startswith("backbone."))
    assert counted == {"lora": 6 + 5 + 5, "meta_transfer": 30 + 5}[name]  # rank 1 and its bias; scales and shifts


def test_a_memory_holds_as_much_of_every_run_as_it_was_trained_on(source: Path, tmp_path: Path) -> None:
    chosen = ["transfer=replay", "transfer.replay.examples=40", f"transfer.source={source}"]
    second = trained(tmp_path, *DIGITS, "data.digits=[5,6]", *chosen, "trainer.steps=1")
    last = families_of(tmp_path / "c", *DIGITS, *chosen[:2], f"transfer.source={second}", "data.digits=[7]")
    assert last.first.transfer.sources == [str(second)]
    (made,) = (tmp_path / "c").glob("*/knowledge.pt")
    replay = Knowledge.load(made).replay
    old = int((replay["y"] < 5).sum())
    sizes = [
        len(families_of(tmp_path / d, *DIGITS, f"data.digits={g}").first.source.items("train"))  # type: ignore[attr-defined]
        for d, g in (("x", "[0,1,2,3,4]"), ("y", "[5,6]"))
    ]
    assert len(replay["y"]) == 40 and int(replay["seen"]) == sum(sizes)
    assert old == round(40 * sizes[0] / sum(sizes)) and set(replay["y"].tolist()) <= set(range(7))


def test_a_memory_stays_even_over_a_long_chain() -> None:
    before: Knowledge | None = None
    for number in range(6):
        x = torch.full((300, 2), float(number))
        examples = Examples(x, torch.full((300,), number))
        source = Trained(Network(nn.Identity(), None, "none"), Classification("made", 6), (2,), lambda _, e=examples: e)  # type: ignore[misc]
        origin = Origin({"head.weight": x}, {}, {}, lambda s=source: s, before)  # type: ignore[misc]
        before = remembered([origin], 120)
    assert before is not None
    kept = torch.bincount(before.replay["y"], minlength=6)
    assert kept.sum() == 120 and kept.min() >= 10 and kept.max() <= 30  # 20 on average
    assert torch.equal(before.replay["x"][:, 0].long(), before.replay["y"])


def test_an_update_that_is_not_finite_leaves_the_path_finite() -> None:
    network = Network(nn.Identity(), nn.Linear(2, 1), "none")
    path, weights = WalkedPath(network, 1.0), dict(network.named_parameters())
    slopes = {name: torch.ones_like(weight) for name, weight in weights.items()}
    path.walk(weights, {name: slope * torch.nan for name, slope in slopes.items()})
    path.walk(weights, slopes)
    moved_on = {name: (weight - 0.5).detach() for name, weight in weights.items()}
    path.walk(moved_on, slopes)
    torch.testing.assert_close(path.path.values(), {name: 0.5 * slope for name, slope in slopes.items()})


class OneBlock(nn.Module):
    """A convolution and a ReLU, each a block."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.flatten(self.blocks(x), 1)


def test_attention_maps_are_those_of_the_blocks() -> None:
    backbone = OneBlock().double()
    network = Network(backbone, None, "none")
    x = normal(3, 1, 2, 2)
    maps = attention(network, lambda: network.query(x, head=False))
    wanted = backbone.blocks[0](x).square().mean(1).flatten(1)
    assert len(maps) == 2
    torch.testing.assert_close(maps[0], wanted / wanted.norm(dim=1, keepdim=True))


def test_an_inner_penalty_pulls_fast_weights_back_and_is_kept_for_new_tasks(tmp_path: Path) -> None:
    waves = ["algo=maml", "data=sinusoid", "backbone.hidden=[5]", "trainer.precision=float64", "trainer.device=cpu"]
    waves += ["task.shots=4", "task.queries=3", "trainer.meta_batch=2", "algo.inner_lr=0.01", "engine=loop"]
    waves += ["eval.gap_episodes=0", "algo.inner_steps=1", "trainer.pictures=0"]
    source = trained(tmp_path, *waves, "trainer.steps=2", "seed=4")
    chosen = [*waves, "transfer=l2sp", f"transfer.source={source}", "transfer.l2sp.at=inner"]
    run = trained(tmp_path / "run", *chosen, "transfer.l2sp.weight=1.0", "trainer.steps=3")
    saved = torch.load(run / "checkpoints" / "best.pt", weights_only=True)["learner"]
    kept = [name for name in saved if name.startswith("terms.l2sp.")]
    assert kept and any(saved[name].abs().max() > 0 for name in kept)
    families = families_of(tmp_path / "made", *chosen, "transfer.l2sp.weight=1.0")
    learner = families.first.learner
    with torch.no_grad():
        for weight in learner.network.parameters():
            weight.add_(0.3)
    support = Examples(normal(4, 1), normal(4, 1, seed=1))
    state = learner.adapt(support)
    learner.terms.clear()
    free = learner.adapt(support)
    name = "backbone.layers.0.0.weight"
    torch.testing.assert_close(state.weights[name], free.weights[name] - 0.01 * 0.3, rtol=1e-9, atol=1e-12)
