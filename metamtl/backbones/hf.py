"""A pre-trained encoder of texts from Hugging Face: from a folder, an installed package that carries one, or the hub.

Sentences are the mean of their pieces' last states, as in Reimers & Gurevych (2019), Sentence-BERT, EMNLP, section 3.
The encoder runs without dropout, whose noise would not be a function of the step, and with plain attention under a mask
of four axes, which the task axis of `vmap` may pass through. Tried with BERT's architecture (MiniLM; Wang et al. 2020).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from metamtl.backbones.norm import NormKind
from metamtl.backbones.recall import Recall, weights_of
from metamtl.data.pretrained import model_folder
from metamtl.data.torchmeta_shim import declare_operators
from metamtl.errors import UsageError
from metamtl.registry import register


@register("backbone", "hf")
class PretrainedEncoder(nn.Module):
    """Pieces [N, L], the model's numbers plus one (0 is padding), to features [N, features] of sentences.

    A `frozen` encoder is not trained, and no gradient passes through it; `projection` is the length of a trained linear
    layer on its features, None for none. A family that labels words sets `of_words`: features are [N, L, features].
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], model: str, frozen: bool, projection: int | None, norm: NormKind
    ) -> None:
        super().__init__()
        if len(input_shape) != 1:
            raise UsageError(f"backbone=hf takes texts; this data has examples of shape {list(input_shape)}.")
        if norm not in ("group", "none"):
            raise UsageError(
                f"backbone.norm={norm}: backbone=hf normalises each piece by itself: take backbone.norm=group or none."
            )
        self.encoder = load_encoder(model)
        self.encoder.requires_grad_(not frozen)
        width = int(self.encoder.config.hidden_size)
        self.projection = nn.Identity() if projection is None else nn.Linear(width, projection)
        self.features = width if projection is None else projection
        self.frozen, self.of_words = frozen, False
        self._recall = {of_words: Recall() for of_words in (False, True)}
        longest = self._longest(input_shape[0])
        if input_shape[0] > longest:
            raise UsageError(f"data.length={input_shape[0]}: backbone.model={model} reads {longest} pieces at most.")

    def _longest(self, unlimited: int) -> int:
        """How many pieces the model has positions for, or `unlimited` where it has none of its own."""
        longest = int(getattr(self.encoder.config, "max_position_embeddings", unlimited))
        places = getattr(getattr(self.encoder, "embeddings", None), "position_embeddings", None)
        before = getattr(places, "padding_idx", None)  # RoBERTa counts positions from after its padding
        return longest if before is None else longest - before - 1

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """As usual, but for the encoder, which always runs as at test."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Features of pieces x [N, L]."""
        recall = self._recall[self.of_words]
        if self.frozen and recall.serves(x, self.encoder):
            encoded = recall.outputs(x, self._encoded, self.encoder)
        else:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                encoded = self._encoded(x)
        features: Tensor = self.projection(encoded)
        return features

    @property
    def constants(self) -> list[str]:
        """The names of weights by which no pass takes slopes."""
        return [f"encoder.{name}" for name, _ in self.encoder.named_parameters()] if self.frozen else []

    def _encoded(self, x: Tensor) -> Tensor:
        """What the encoder makes of sentences [N, width], or of their words [N, L, width]."""
        states = self._states(x)
        if self.of_words:
            return states
        mask = (x > 0).to(states.dtype).unsqueeze(2)
        return (states * mask).sum(1) / mask.sum(1).clamp(min=1)

    def _states(self, x: Tensor) -> Tensor:
        """Last states [N, L, width]."""
        known = x > 0
        padding = self.encoder.config.pad_token_id or 0
        numbers = torch.where(known, x.long() - 1, padding)
        dtype = next(weight.dtype for weight in weights_of(self.encoder) if weight.is_floating_point())
        mask = (~known).to(dtype)[:, None, None] * torch.finfo(dtype).min
        states: Tensor = self.encoder(input_ids=numbers, attention_mask=mask).last_hidden_state
        return states


def load_encoder(model: str) -> Any:
    """The encoder with its weights; UsageError where the packages or the model are missing."""
    if find_spec("transformers") is None:
        raise UsageError("backbone=hf needs transformers: pip install 'metamtl[text]'.")
    if find_spec("torchvision") is not None:
        declare_operators()  # transformers imports a torchvision that is there, loadable or not
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    place = str(model_folder(model) or model)
    try:
        encoder = AutoModel.from_pretrained(place, attn_implementation="eager")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"backbone.model={model} cannot be loaded ({str(error).splitlines()[0]}): give a folder that Hugging Face "
            "saved, an installed package that carries one, or a name on the hub."
        ) from error
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # weights that no feature here depends on
    return encoder
