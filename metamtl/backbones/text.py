"""A small encoder of texts: subword embeddings, and residual convolutions over words.

A word is the mean of its subwords' embeddings (Bojanowski et al. 2017, Enriching Word Vectors with Subword Information,
TACL 5); convolutions over words and their maximum over the sentence are those of Kim (2014), Convolutional Neural
Networks for Sentence Classification, EMNLP. A convolution of three words is one matrix product with each word's
neighbours beside it.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.backbones.norm import NormKind
from metamtl.errors import UsageError
from metamtl.registry import register

Readout = Literal["mean", "max", "both"]


class WordNorm(nn.Module):
    """Each word's channels normalised together (Ba, Kiros & Hinton 2016), whatever stands beside it."""

    def __init__(self, width: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """X [..., width] normalised, scaled and shifted."""
        var, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(var + self.epsilon) * self.weight + self.bias


class WordBlock(nn.Module):
    """A convolution of three words, normalisation and ReLU, added to its input [N, L, width]."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * width, width)
        self.norm = WordNorm(width) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """X of the same shape."""
        before, after = F.pad(x, (0, 0, 1, 0))[:, :-1], F.pad(x, (0, 0, 0, 1))[:, 1:]
        mixed: Tensor = self.norm(self.linear(torch.cat([before, x, after], 2)))
        added: Tensor = x + F.relu(mixed)
        return added


@register("backbone", "text")
class TextEncoder(nn.Module):
    """Hashed subwords [N, L, P] (0 is padding) to features [N, features] of sentences, or of words [N, L, features].

    `readout` is how words become a sentence: their mean, their maximum, or both side by side. A family that labels
    words sets `of_words`.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        vocabulary: int,
        width: int,
        blocks: int,
        readout: Readout,
        norm: NormKind,
    ) -> None:
        super().__init__()
        if len(input_shape) != 2:
            raise UsageError(
                f"backbone=text takes texts as subwords; this data has examples of shape {list(input_shape)}."
            )
        if norm not in ("group", "none"):
            raise UsageError(
                f"backbone.norm={norm}: backbone=text normalises each word by itself: take backbone.norm=group or none."
            )
        self.embedding = nn.Parameter(torch.randn(vocabulary, width) / math.sqrt(width))
        self.blocks = nn.ModuleList(WordBlock(width, norm == "group") for _ in range(blocks))
        self.width, self.readout = width, readout
        self.of_words = False

    @property
    def features(self) -> int:
        """Length of the features of a sentence, or of a word."""
        return 2 * self.width if self.readout == "both" and not self.of_words else self.width

    def forward(self, x: Tensor) -> Tensor:
        """Features of subwords x [N, L, P]."""
        known = (x > 0).to(self.embedding.dtype).unsqueeze(-1)
        pieces = F.embedding(x.long(), self.embedding) * known
        words = pieces.sum(2) / known.sum(2).clamp(min=1)
        mask = (x[..., :1] > 0).to(self.embedding.dtype)
        for block in self.blocks:
            words = block(words) * mask  # here, as what stands around a block may move what is no word
        return words if self.of_words else self._read(words, mask)

    def _read(self, words: Tensor, mask: Tensor) -> Tensor:
        mean = words.sum(1) / mask.sum(1).clamp(min=1)
        if self.readout == "mean":
            return mean
        largest = (words - (1 - mask) * 1e4).amax(1) * mask.amax(1)
        return largest if self.readout == "max" else torch.cat([mean, largest], 1)
