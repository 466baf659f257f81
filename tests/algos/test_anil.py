"""ANIL is MAML on the head, over features that are computed once."""

from __future__ import annotations

import pytest
import torch

from metamtl.backbones.norm import NormKind
from metamtl.engine.network import Network
from tests.algos.suite import TINY, Blobs, engine_of, make


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("norm", ["batch", "running", "group", "none"])
@pytest.mark.parametrize("transductive", [True, False])
def test_it_equals_maml_on_the_head(order: str, norm: NormKind, transductive: bool) -> None:
    batch = Blobs(TINY["conv4"]).tasks(3)
    anil, maml = make("anil", "conv4", norm, order=order), make("maml", "conv4", norm, order=order, adapt="head")
    assert anil.state_dict().keys() == maml.state_dict().keys()
    anil.load_state_dict(maml.state_dict())
    for learner in (anil, maml):
        learner.network.transductive = transductive
    found, wanted = (engine_of(learner).meta_gradient([batch]) for learner in (anil, maml))
    torch.testing.assert_close(found.figures, wanted.figures, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.statistics, wanted.statistics, rtol=1e-12, atol=1e-12)
    largest = max(float(g.abs().max()) for g in wanted.gradient.values())
    for name, g in wanted.gradient.items():
        torch.testing.assert_close(found.gradient[name], g, rtol=1e-9, atol=1e-12 * largest)


@pytest.mark.parametrize("name", ["anil", "maml"])
def test_its_support_set_passes_the_body_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once an inner step, as MAML's does."""
    passes: list[bool] = []
    forward = Network.forward

    def counted(network: Network, x: torch.Tensor, head: bool) -> torch.Tensor:
        passes.append(head)
        return forward(network, x, head)

    monkeypatch.setattr(Network, "forward", counted)
    make(name, inner_steps=4).adapt(Blobs(TINY["mlp"]).tasks(1).single().support)
    assert len(passes) == (1 if name == "anil" else 4)
