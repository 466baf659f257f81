"""The small encoder of texts: padding changes nothing, words see their neighbours, tasks together are tasks alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metamtl.backbones.text import TextEncoder
from metamtl.data.tokens import Subwords
from metamtl.errors import UsageError
from tests.backbones.alike import assert_together_as_alone

TEXTS = [text.split() for text in ("play some music", "what is the weather like", "stop")]


def encoder(**changes: Any) -> TextEncoder:
    torch.manual_seed(0)
    options = {"vocabulary": 500, "width": 6, "blocks": 2, "readout": "both", "norm": "group", **changes}
    return TextEncoder(input_shape=(7, 20), **options).double()


def tokens(length: int = 7) -> torch.Tensor:
    return torch.from_numpy(Subwords(500, length).encode(TEXTS).x)


@pytest.mark.parametrize("readout", ["mean", "max", "both"])
def test_a_sentence_is_the_same_however_far_it_is_padded(readout: str) -> None:
    network = encoder(readout=readout)
    short, long = network(tokens()), network(tokens(12))
    assert short.shape == (3, network.features)
    torch.testing.assert_close(short, long)
    assert torch.equal(network(torch.zeros_like(tokens())), torch.zeros_like(short))  # no words say nothing


def test_words_have_features_of_their_own_and_see_as_far_as_blocks_reach() -> None:
    network = encoder(blocks=1)
    network.of_words = True
    features = network(tokens())
    assert features.shape == (3, 7, network.features) == (3, 7, 6)
    assert not features[0, 3:].any() and features[0, :3].any(1).all()
    other = tokens()
    other[1, 4] = other[0, 0]  # the last word of the second sentence
    changed = (network(other) != features)[1].any(1)
    assert changed.tolist() == [False, False, False, True, True, False, False]


def test_the_convolution_is_torch_s() -> None:
    block = encoder(norm="none").blocks[0]
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    weight = block.linear.weight.view(6, 3, 6).permute(0, 2, 1)  # type: ignore[union-attr,operator]
    native = torch.conv1d(x.mT, weight, block.linear.bias, padding=1).mT  # type: ignore[union-attr,arg-type]
    torch.testing.assert_close(block(x), x + native.relu())


def test_tasks_together_are_tasks_alone_with_their_own_weights() -> None:
    network = encoder()
    x = torch.stack([tokens(), tokens().flip(0)])
    weights = {name: torch.stack([w.detach(), 2 * w.detach()]) for name, w in network.named_parameters()}

    for weight in weights.values():
        weight.requires_grad_()
    assert_together_as_alone(network, weights, x)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"norm": "running"}, "take backbone.norm=group or none"), ({"input_shape": (1, 28, 28)}, "takes texts")],
)
def test_what_it_cannot_read_or_normalise_is_refused(changes: dict[str, Any], said: str) -> None:
    options = {"input_shape": (7, 20), "vocabulary": 50, "width": 6, "blocks": 1, "readout": "mean", "norm": "group"}
    with pytest.raises(UsageError, match=said):
        TextEncoder(**{**options, **changes})
