"""Domain adaptation: critics that learn apart, and weights chosen by three criteria that are kept apart."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metamtl.config.compose import compose
from metamtl.data.examples import ExampleSource
from metamtl.data.shift import ShiftedSource
from metamtl.data.task import Examples
from metamtl.engine.terms import View
from metamtl.errors import Pruned, UsageError
from metamtl.families import build_families
from metamtl.opening import open_sources
from metamtl.registry import register
from metamtl.runs.metrics import read
from metamtl.trainer.run import Watch, resume_run, train_run
from metamtl.trainer.selection import mutual_information
from metamtl.transfer.dann import Deception, told_apart
from metamtl.transfer.reweight import Reweighted
from tests.transfer.made import DIGITS, batch, families_of, terms_of


def clouds(shift: float, seed: int) -> ExampleSource:
    """Two classes of points, moved by `shift` in a direction that says nothing of the class."""
    generator = np.random.default_rng(seed)
    y = np.arange(120) % 2
    x = generator.normal(size=(120, 2)) * 0.3 + np.stack([2.0 * y - 1, np.full(120, shift)], 1)
    items = np.arange(120)
    splits: dict[Any, Any] = {"train": items[:60], "val": items[60:90], "test": items[90:]}
    return ExampleSource(
        name=f"cloud{shift}", kind="classification", x=x.astype(np.float32), y=y, splits=splits, output_size=2
    )


@register("data", "made_shift")
class MadeShift(ShiftedSource):
    """Clouds, and clouds moved."""

    def __init__(self, *, paths: object) -> None:
        super().__init__(name="clouds", source=clouds(0.0, 0), target=clouds(3.0, 1), facts={})


@pytest.fixture
def shifted(tmp_path: Path) -> list[str]:
    """What chooses the clouds."""
    folder = tmp_path / "conf" / "data"
    folder.mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - override /backbone: mlp\nabout:\n  summary: clouds\n  keys: {}\n"
    (folder / "made_shift.yaml").write_text(text + "data:\n  name: made_shift\n")
    chosen = [text for text in DIGITS if not text.startswith("data")]
    return [*chosen, "data=made_shift", f"--config-dir={tmp_path / 'conf'}"]


def composed(overrides: list[str], *more: str) -> dict[str, Any]:
    *own, folder = overrides
    return compose([*own, *more], Path(folder.partition("=")[2]))


def test_training_sees_no_label_of_the_target() -> None:
    source = MadeShift(paths=None)
    items, labels = source.minibatch("train", 8, 3, key=5)
    assert (labels[:4] >= 0).all() and (labels[4:] == -1).all()
    assert set(items[4:]) <= set(source.target_items) and set(items[:4]) <= set(source.source_items)
    assert (source.targets(source.items("test")) >= 0).all()
    assert not set(source.held_out) & set(np.concatenate([source.items(one) for one in ("train", "val", "test")]))
    assert (source.targets(source.items("train"))[60:] == -1).all()


@pytest.mark.parametrize("name", ["dann", "cdan", "mmd", "coral"])
def test_it_aligns_labelled_and_unlabelled_examples(name: str, shifted: list[str], tmp_path: Path) -> None:
    config = composed(shifted, f"transfer={name}", f"paths.outputs={tmp_path}")
    parts = build_families(config, open_sources(config)).first
    parts.transfer.remember(
        parts.learner.network,
        dict(parts.learner.terms.items()),
        parts.transfer.extract([], lambda parameters, head: 0.0),
    )
    term = terms_of(parts)[name]
    value = term.value(_view(parts, batch(parts)))
    assert value.isfinite() and value.requires_grad
    known = Examples(batch(parts).x, torch.zeros(8, dtype=torch.int64), None)
    with pytest.raises(UsageError, match="only one kind"):
        term.value(_view(parts, known))


@pytest.mark.parametrize("name", ["dann", "cdan"])
def test_the_critic_learns_apart(name: str, shifted: list[str]) -> None:
    """Of the penalty it gets nothing, of its own loss all; the network gets nothing of the critic's loss."""
    config = composed(shifted, f"transfer={name}")
    parts = build_families(config, open_sources(config)).first
    deception, critic = terms_of(parts)[name], terms_of(parts)[f"{name}2"]
    view = _view(parts, batch(parts))
    network, weights = list(parts.learner.network.parameters()), list(critic.parameters())
    assert weights and not list(deception.parameters())
    penalty = torch.autograd.grad(deception.value(view), [*network, *weights], allow_unused=True)
    assert any(slope is not None for slope in penalty[: len(network)])
    assert all(slope is None for slope in penalty[len(network) :])
    own = torch.autograd.grad(critic.value(view), [*network, *weights], allow_unused=True)
    assert all(slope is None for slope in own[: len(network)])
    assert all(slope is not None and slope.abs().max() > 0 for slope in own[len(network) :])


def test_the_critic_gets_nothing_through_an_inner_loop() -> None:
    waves = ["algo=maml", "data=sinusoid", "backbone.hidden=[5]", "trainer.precision=float64", "trainer.device=cpu"]
    config = compose([*waves, "transfer=dann", "transfer.dann.at=inner", "transfer.source=x"])
    parts = build_families(config, open_sources(config)).first
    deception, critic = terms_of(parts)["dann"], terms_of(parts)["dann2"]
    assert isinstance(deception, Deception)
    deception.hold(torch.linspace(-1, 1, 6, dtype=torch.float64).unsqueeze(1))
    (arrays,) = parts.source.episodes("train", parts.train_shape, np.arange(2), 0)
    parts.learner.train()
    parts.learner.progress = 0.5

    def gradient() -> dict[str, torch.Tensor]:
        return parts.engine.meta_gradient([parts.preparation.batch(arrays)]).gradient

    deceived = gradient()
    assert any(slope.abs().max() > 0 for key, slope in deceived.items() if key.startswith("terms.dann2."))
    critic.weight = 0.0  # leaves what would come through the inner loop
    through = gradient()
    assert all(slope.abs().max() == 0 for key, slope in through.items() if key.startswith("terms."))
    deception.weight = 0.0
    without = gradient()
    assert any(not torch.equal(s, without[key]) for key, s in through.items() if not key.startswith("terms."))


def test_the_ramp_is_the_papers() -> None:
    term = Deception(1.0, "outer", 10.0, torch.nn.Linear(1, 1))
    assert term.ramp(0.0) == 0.0 and term.ramp(1.0) == pytest.approx(math.tanh(5.0), rel=1e-12)


def test_a_critic_that_knows_nothing_has_the_entropy_of_a_coin() -> None:
    assert float(told_apart(torch.zeros(3, 1), torch.zeros(5, 1))) == pytest.approx(math.log(2), rel=1e-6)


def test_mutual_information_is_that_of_certain_and_even_predictions() -> None:
    certain = torch.eye(4, dtype=torch.float64)
    assert float(mutual_information(certain)) == pytest.approx(math.log(4))
    assert float(mutual_information(torch.full((4, 4), 0.25, dtype=torch.float64))) == pytest.approx(0, abs=1e-12)
    assert float(mutual_information(certain[:1].repeat(4, 1))) == pytest.approx(0, abs=1e-12)


def test_three_criteria_select_and_a_resumed_run_keeps_them(shifted: list[str], tmp_path: Path) -> None:
    options = ["transfer=dann", "trainer.steps=6", "trainer.validate_every=2", "trainer.checkpoint_every=1"]
    options += ["trainer.optimizer.lr=0.03"]

    def run(name: str, watch: Watch | None = None) -> Path:
        outputs = tmp_path / name
        train_run(composed(shifted, *options, f"paths.outputs={outputs}"), ["metamtl", "train"], watch=watch)
        (found,) = outputs.glob("*")
        return found

    def stop(step: int, figures: Mapping[str, float]) -> None:
        if step == 4:
            raise Pruned("enough")

    whole = run("whole")
    with pytest.raises(Pruned):
        run("broken", stop)
    (broken,) = (tmp_path / "broken").glob("*")
    resume_run(broken)
    records = [json.loads((one / "result.json").read_text())["selection"] for one in (whole, broken)]
    assert records[0] == records[1] and set(records[0]) == {"source", "unsupervised", "oracle"}
    lines = [line for line in read(whole / "metrics.jsonl") if "val/oracle" in line]
    best = max(line["val/oracle"] for line in lines)
    assert records[0]["oracle"]["val"] == best
    assert records[0]["oracle"]["step"] == next(line["step"] for line in lines if line["val/oracle"] == best)


def test_reweighting_adds_what_the_density_ratio_changes(shifted: list[str]) -> None:
    config = composed(shifted, "transfer=reweight")
    parts = build_families(config, open_sources(config)).first
    term, view = terms_of(parts)["reweight"], _view(parts, batch(parts))
    assert isinstance(term, Reweighted)
    known = view.examples.labels >= 0
    (judge,) = term._judge
    features = view.network.support(view.examples.x, view.weights, head=False)[known]
    odds = torch.exp(-judge(features)).squeeze(1).detach().clamp(max=10.0)
    each = torch.nn.functional.cross_entropy(view.outputs[known], view.examples.labels[known], reduction="none")
    plain, weighted = each.mean(), (odds / odds.mean() * each).mean()
    torch.testing.assert_close(plain + term.value(view), weighted)
    slopes = torch.autograd.grad(term.value(view), list(judge.parameters()), allow_unused=True)
    assert all(slope is None for slope in slopes)


def test_zero_reweighting_is_bit_identical_to_none(shifted: list[str], tmp_path: Path) -> None:
    def weights(name: str, *more: str) -> dict[str, torch.Tensor]:
        config = composed(shifted, *more, "trainer.steps=4", f"paths.outputs={tmp_path / name}")
        run = train_run(config, ["metamtl", "train"])
        assert run is not None
        found: dict[str, torch.Tensor] = torch.load(run.checkpoints / "last.pt", weights_only=True)["learner"]
        return found

    none, zero = weights("none"), weights("zero", "transfer=reweight", "transfer.reweight.weight=0")
    some = weights("some", "transfer=reweight")
    assert none.keys() == zero.keys() and all(torch.equal(tensor, zero[key]) for key, tensor in none.items())
    assert any(not torch.equal(tensor, some[key]) for key, tensor in none.items())


def test_tasks_need_a_source_of_examples(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tasks have no examples of a source"):
        families_of(tmp_path, "algo=maml", "data=sinusoid", "backbone.hidden=[5]", "transfer=dann")


def _view(parts: Any, examples: Examples) -> View:
    network = parts.learner.network
    weights = dict(network.named_parameters())
    return View(network, weights, examples, network.support(examples.x, weights))
