"""Entities in sentences whose words bear tags: where they begin, where they end, and which of those found are right.

Tags are numbered O = 0, B-k = 2 k + 1 and I-k = 2 k + 2 for type k. As in the conlleval program (Tjong Kim Sang & De
Meulder 2003, Introduction to the CoNLL-2003 Shared Task, CoNLL), an I that follows no word of its own type begins an
entity, and an entity is right where its type and both its ends are.
"""

from __future__ import annotations

import torch
from torch import Tensor


def right_found_there(predicted: Tensor, tags: Tensor, types: int) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers [types] of entities that are right, that were found and that are there, of tags [N, L].

    Where `tags` is -1 there is no word, and `predicted` is not looked at.
    """
    word = tags >= 0
    order = torch.argsort((~word).to(torch.int8), dim=1, stable=True)  # words first, as a model may cut them to pieces
    found, found_end = entities(predicted.masked_fill(~word, -1).gather(1, order))
    there, there_end = entities(tags.gather(1, order))
    right = there * ((found == there) & (found_end == there_end))
    return _by_type(right, types), _by_type(found, types), _by_type(there, types)


def entities(tags: Tensor) -> tuple[Tensor, Tensor]:
    """The type (from 1) of the entity that begins at each place [N, L], 0 where none does, and its last place [N, L].

    Tags of -1 may follow a sentence's last word.
    """
    of_type = torch.div(tags + 1, 2, rounding_mode="floor")
    before = torch.nn.functional.pad(of_type, (1, 0))[:, :-1]
    begins = (of_type > 0) & ((tags % 2 == 1) | (of_type != before))
    begins_next = torch.nn.functional.pad(begins, (0, 1))[:, 1:]
    type_next = torch.nn.functional.pad(of_type, (0, 1))[:, 1:]
    ends = (of_type > 0) & (begins_next | (type_next != of_type))
    places = torch.arange(tags.shape[1], device=tags.device)
    length = tags.shape[1]
    # the first end at or after each place
    ahead = torch.where(ends.unsqueeze(1) & (places.unsqueeze(0) >= places.unsqueeze(1)), places, length)
    return of_type * begins, ahead.amin(2)


def _by_type(of_type: Tensor, types: int) -> Tensor:
    kinds = torch.arange(1, types + 1, device=of_type.device)
    return (of_type.unsqueeze(-1) == kinds).sum((0, 1))
