"""Rules: their truth in both logics, what they do to a learner, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metamtl.config.compose import compose
from metamtl.errors import UsageError
from metamtl.families import build_families
from metamtl.opening import open_sources
from metamtl.transfer.rules import exclusion, implication, truth
from tests.transfer.made import DIGITS, families_of, terms_of, trained, view_of

A, B = torch.tensor([0.0, 1.0, 1.0, 0.7]), torch.tensor([0.0, 1.0, 0.0, 0.2])


def test_implication_and_exclusion_are_those_of_the_logics() -> None:
    torch.testing.assert_close(implication(A, B, "lukasiewicz"), torch.tensor([0.0, 0.0, 1.0, 0.5]))
    torch.testing.assert_close(implication(A, B, "product"), torch.tensor([0.0, 0.0, 1.0, 0.56]))
    torch.testing.assert_close(exclusion(A, B, "lukasiewicz"), torch.tensor([0.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(exclusion(A, B, "product"), torch.tensor([0.0, 1.0, 0.0, 0.14]))


def test_atoms_read_inputs_and_chances() -> None:
    x, p = torch.tensor([[[0.2, 0.9]], [[0.6, 0.1]]]), torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    assert truth({"input": 1, "above": 0.5}, x, p).tolist() == [1.0, 0.0]
    assert truth({"input": 0, "below": 0.5}, x, p).tolist() == [1.0, 0.0]
    torch.testing.assert_close(truth({"classes": [0, 2]}, x, p), torch.tensor([0.8, 0.9]))


def test_monotonicity_is_hurt_by_what_falls(tmp_path: Path) -> None:
    rule = "transfer.rules.constraints=[{rises: {classes: [1]}, with: {input: 2, by: 0.5}}]"
    parts = families_of(tmp_path, *DIGITS, "transfer=rules", rule).first
    network, term = parts.learner.network, terms_of(parts)["rules"]
    weights = dict(network.named_parameters())
    view = view_of(parts, weights)
    assert isinstance(view.examples.x, torch.Tensor)
    raised = view.examples.x.clone()
    raised[:, 2] += 0.5
    before, after = (network.support(x, weights).softmax(1)[:, 1] for x in (view.examples.x, raised))
    torch.testing.assert_close(term.value(view), (before - after).clamp(min=0).mean())
    assert float(term.value(view)) > 0


def test_a_rule_is_followed(tmp_path: Path) -> None:
    """A rule that no label speaks for: nothing is ever of the classes 0 to 4."""
    rule = "transfer.rules.constraints=[{if: {input: 0, above: -1e9}, then: {classes: [5, 6, 7, 8, 9]}}]"
    options = [*DIGITS, "trainer.steps=40", "trainer.optimizer.lr=0.03", "transfer=rules", rule]
    options += ["transfer.rules.weight=50"]
    parts = families_of(tmp_path / "made", *options).first
    run = trained(tmp_path / "run", *options)
    saved = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["learner"]
    before = parts.learner.network.query(_inputs(parts)).softmax(1)[:, :5].sum(1).mean()
    parts.learner.load_state_dict(saved)
    after = parts.learner.network.query(_inputs(parts)).softmax(1)[:, :5].sum(1).mean()
    assert float(after) < 0.25 < float(before)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("[]", "write at least one rule"),
        ("[{if: {classes: [0]}}]", "is no rule: write {if, then}"),
        ("[{never: {classes: [11]}, and: {input: 0, above: 1}}]", "names other classes than 0 to 9"),
        ("[{if: {input: 0}, then: {classes: [1]}}]", "is no atom"),
        ("[{rises: {classes: [1]}, with: {input: 0}}]", "is no change of an input"),
        ("[{rises: {input: 0, above: 1}, with: {input: 0, by: 1}}]", "does not rise"),
        (
            "[{if: {input: 3600, below: 0.05}, then: {classes: [0, 7]}}]",
            "transfer.rules.constraints: {'input': 3600, 'below': 0.05} names another input than 0 to 5.",
        ),
        ("[{if: {input: -1, above: 1}, then: {classes: [0]}}]", "names another input than 0 to 5"),
        ("[{rises: {classes: [1]}, with: {input: 6, by: 1}}]", "{'input': 6, 'by': 1} names another input than 0 to 5"),
    ],
)
def test_a_rule_that_is_none_is_refused(rules: str, said: str) -> None:
    config = compose([*DIGITS, "transfer=rules", f"transfer.rules.constraints={rules}"])
    with pytest.raises(UsageError) as found:
        build_families(config, open_sources(config))
    assert said in str(found.value)


def _inputs(parts) -> torch.Tensor:  # type: ignore[no-untyped-def]
    found = parts.preparation.inputs(parts.source.gather(parts.source.items("train")[:50]))
    assert isinstance(found, torch.Tensor)
    return found
