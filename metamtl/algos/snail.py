"""SNAIL: temporal convolutions gather what came before, causal attention looks up single examples in it.

Mishra, Rohaninejad, Chen & Abbeel (2018), A Simple Neural Attentive Meta-Learner, ICLR: dense blocks of dilated causal
convolutions (figure 2a), stacks of them that reach over the sequence ("TC blocks"), attention blocks (figure 2b) and
the order of blocks of section 5.1. A query is the last token of a sequence that holds the support set and itself,
without a label. No token sees a later one, so that what the support set's tokens are is computed once, and all queries
are last tokens of it at the same time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metamtl.algos.labelled_sequence import SequenceLearner
from metamtl.data.task import size
from metamtl.errors import UsageError
from metamtl.registry import register


class Block(nn.Module, ABC):
    """Adds channels to the tokens of a sequence; a token depends on itself and on those before it."""

    outputs: int

    @abstractmethod
    def forward(self, tokens: Tensor) -> Tensor:
        """[T, outputs] of a whole sequence [T, C]."""

    @abstractmethod
    def last(self, tokens: Tensor, before: Tensor) -> Tensor:
        """[Q, outputs] of tokens [Q, C], each the next one of the same sequence `before` [T, C]."""


class Dense(Block):
    """A causal convolution of width 2 with a gated activation, whose outputs join its inputs."""

    def __init__(self, inputs: int, filters: int, dilation: int) -> None:
        super().__init__()
        self.now, self.earlier = nn.Linear(inputs, 2 * filters), nn.Linear(inputs, 2 * filters, bias=False)
        self.dilation, self.outputs = dilation, inputs + filters

    def forward(self, tokens: Tensor) -> Tensor:
        """Each token with the one `dilation` places before it, zeros where there is none."""
        blank = tokens.new_zeros(self.dilation, tokens.shape[1])
        return self._joined(tokens, torch.cat([blank, tokens])[: len(tokens)])

    def last(self, tokens: Tensor, before: Tensor) -> Tensor:
        """Each token with the one `dilation` places before the sequence's end."""
        place = len(before) - self.dilation
        return self._joined(tokens, before[place : place + 1] if place >= 0 else torch.zeros_like(before[:1]))

    def _joined(self, tokens: Tensor, earlier: Tensor) -> Tensor:
        value, gate = (self.now(tokens) + self.earlier(earlier)).chunk(2, 1)
        return torch.cat([tokens, value.tanh() * gate.sigmoid()], 1)


class Attention(Block):
    """One head of causal attention, whose reading joins its inputs."""

    def __init__(self, inputs: int, keys: int, values: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(inputs, keys), nn.Linear(inputs, keys)
        self.query.load_state_dict(self.key.state_dict())  # so that attention starts as a likeness
        self.value = nn.Linear(inputs, values)
        self.scale, self.outputs = 1 / math.sqrt(keys), inputs + values

    def forward(self, tokens: Tensor) -> Tensor:
        """Each token reads itself and those before it."""
        later = torch.ones(len(tokens), len(tokens), dtype=torch.bool, device=tokens.device).triu(1)
        logits = self.query(tokens) @ self.key(tokens).T * self.scale
        return torch.cat([tokens, logits.masked_fill(later, -torch.inf).softmax(1) @ self.value(tokens)], 1)

    def last(self, tokens: Tensor, before: Tensor) -> Tensor:
        """Each token reads itself and the sequence."""
        query = self.query(tokens)
        own = (query * self.key(tokens)).sum(1, keepdim=True)
        weights = (torch.cat([query @ self.key(before).T, own], 1) * self.scale).softmax(1)
        return torch.cat([tokens, weights[:, :-1] @ self.value(before) + weights[:, -1:] * self.value(tokens)], 1)


@register("algo", "snail")
class SNAIL(SequenceLearner):
    """Attention blocks of `keys` and `values`, with convolutions of `filters` that reach `horizon` tokens between."""

    def __init__(
        self, *, filters: int, horizon: int, keys: Sequence[int], values: Sequence[int], **context: Any
    ) -> None:
        super().__init__(**context)
        if len(keys) != len(values) or not keys:
            raise UsageError("algo.keys and algo.values must list a size for each attention block, one at least.")
        inputs = context["backbone"].features + self.family.outputs
        self.blocks = nn.ModuleList()
        for number, sizes in enumerate(zip(keys, values, strict=True)):
            if number > 0:
                inputs = self._add_convolutions(inputs, filters, horizon)
            inputs = self._add(Attention(inputs, *sizes))
        self.head = nn.Linear(inputs, self.family.outputs)

    def _add_convolutions(self, inputs: int, filters: int, horizon: int) -> int:
        """A dense block for each dilation 1, 2, 4, ... until together they reach `horizon` tokens."""
        for power in range(math.ceil(math.log2(horizon))):
            inputs = self._add(Dense(inputs, filters, 2**power))
        return inputs

    def _add(self, block: Block) -> int:
        self.blocks.append(block)
        return block.outputs

    def read(self, features: Tensor, labels: Tensor) -> list[Tensor]:
        """The support set's tokens before each block, [S, C] each."""
        tokens, before = torch.cat([features, labels], 1), []
        for block in self.blocks:
            before.append(tokens)
            tokens = block(tokens)
        return before

    def answer(self, kept: list[Tensor], features: Tensor) -> Tensor:
        """Logits [Q, ways] of queries as last tokens, their labels left blank."""
        tokens = torch.cat([features, features.new_zeros(size(features), self.family.outputs)], 1)
        for block, before in zip(self.blocks, kept, strict=True):
            assert isinstance(block, Block)
            tokens = block.last(tokens, before)
        outputs: Tensor = self.head(tokens)
        return outputs
