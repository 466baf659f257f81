"""Properties that every strategy has, on every strategy that conf/ offers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from metamtl.engine.terms import added
from metamtl.runs.metrics import read
from metamtl.trainer.run import resume_run
from metamtl.transfer.knowledge import Knowledge
from tests.transfer.made import (
    DIGITS,
    IMAGES,
    NAMES,
    WITHOUT,
    batch,
    families_of,
    moved,
    section,
    stopped,
    terms_of,
    trained,
    view_of,
    with_source,
)

ON_DIGITS = [name for name in NAMES if name not in IMAGES]
WEIGHTED = [name for name in ON_DIGITS if "weight" in section(name)]
every_strategy = pytest.mark.parametrize("name", ON_DIGITS)
every_penalty = pytest.mark.parametrize("name", WEIGHTED)


def weights_after(run: Path) -> dict[str, torch.Tensor]:
    content = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    found: dict[str, torch.Tensor] = content["learner"]
    return {name: tensor for name, tensor in found.items() if name.startswith("network.")}


@every_strategy
def test_it_trains_from_a_finished_run_and_says_where_from(name: str, source: Path, tmp_path: Path) -> None:
    run = trained(tmp_path, *DIGITS, *with_source(name, source), "trainer.steps=2", "trainer.log_every=1")
    record = json.loads((run / "result.json").read_text())["transfer"]
    assert record["strategies"] == [name]
    if name not in WITHOUT:
        assert source.name in record["run"]
        assert record["sources"][0]["algo"] == "joint" and record["sources"][0]["fingerprint"]
    assert Knowledge.load(run / "knowledge.pt").provenance["run"] == record["run"]
    lines = list(read(run / "metrics.jsonl"))
    logged = any(f"train/{name}" in line for line in lines)
    assert logged == (name in WEIGHTED)


@every_penalty
def test_zero_weight_is_bit_identical_to_none(name: str, source: Path, tmp_path: Path) -> None:
    chosen = with_source(name, source)
    zero = trained(tmp_path / "zero", *DIGITS, *chosen, f"transfer.{name}.weight=0", "trainer.steps=3")
    families = families_of(tmp_path / "made", *DIGITS, *chosen)
    knowledge = Knowledge.load(zero / "knowledge.pt")
    start = families.first.learner.network.state_dict()
    known = knowledge.parameters
    carried = [key for key, tensor in start.items() if key in known and torch.equal(tensor, known[key].to(tensor))]
    if carried:
        head = "true" if any(key.startswith("head.") for key in carried) else "false"
        plain = [
            *with_source("finetune", source),
            "transfer.finetune.backbone_rate=1",
            f"transfer.finetune.head={head}",
        ]
    else:
        plain = ["transfer=none"]
    none = weights_after(trained(tmp_path / "none", *DIGITS, *plain, "trainer.steps=3"))
    some = weights_after(trained(tmp_path / "some", *DIGITS, *chosen, f"transfer.{name}.weight=1e3", "trainer.steps=3"))
    assert weights_after(zero).keys() == none.keys()
    assert all(torch.equal(tensor, none[key]) for key, tensor in weights_after(zero).items())
    assert any(not torch.equal(tensor, none[key]) for key, tensor in some.items())


@every_penalty
def test_a_penalty_reads_the_weights_it_is_handed(name: str, source: Path, tmp_path: Path) -> None:
    parts = families_of(tmp_path, *DIGITS, *with_source(name, source)).first
    key, term = next(iter(terms_of(parts).items()))  # a critic's own term comes after
    weights = moved(parts.learner.network)
    value = term.value(view_of(parts, weights))
    with torch.no_grad():
        for weight in parts.learner.network.parameters():
            weight.add_(1.0)
    assert key == name and torch.equal(term.value(view_of(parts, weights)), value)
    slopes = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
    assert any(slope is not None and slope.abs().max() > 0 for slope in slopes)


@every_penalty
def test_second_order_gradients_agree_with_finite_differences(name: str, source: Path, tmp_path: Path) -> None:
    """Of the loss after an inner step on the loss with the penalty, along one direction."""
    parts = families_of(tmp_path, *DIGITS, *with_source(name, source)).first
    # the critic's own loss takes features as constants, so it has no slope by the network's weights
    network, terms = parts.learner.network, {name: terms_of(parts)[name]}
    start, direction = moved(network), moved(network, seed=4)
    examples = batch(parts, step=1)

    def after(shift: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        weights = {key: (w + shift * direction[key]).detach().requires_grad_() for key, w in start.items()}
        view = view_of(parts, weights)
        loss, _ = added(parts.family.loss(view.outputs, view.examples), terms.items(), "outer", view)
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        fast = {key: w - 0.01 * g for (key, w), g in zip(weights.items(), slopes, strict=True)}
        return parts.family.loss(network.support(examples.x, fast), examples), weights

    value, weights = after(0.0)
    slopes = torch.autograd.grad(value, list(weights.values()))
    found = sum(float((g * direction[key]).sum()) for g, key in zip(slopes, weights, strict=True))
    step = 1e-6
    wanted = float(after(step)[0] - after(-step)[0]) / (2 * step)
    assert found == pytest.approx(wanted, rel=1e-4)


@every_strategy
def test_a_stopped_run_goes_on_as_an_unbroken_one_without_its_source(name: str, source: Path, tmp_path: Path) -> None:
    chosen = [*DIGITS, *with_source(name, source), "trainer.checkpoint_every=1", "trainer.validate_every=1"]
    whole = trained(tmp_path / "whole", *chosen, "trainer.steps=4")
    broken = stopped(tmp_path / "broken", 3, *chosen, "trainer.steps=4")
    hidden = source.rename(source.with_name("away"))
    try:
        resume_run(broken)
    finally:
        hidden.rename(source)
    there, here = weights_after(whole), weights_after(broken)
    assert there.keys() == here.keys() and all(torch.equal(tensor, here[key]) for key, tensor in there.items())
