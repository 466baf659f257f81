"""Entities found in tags, counted against a plain reading of the rule and against nervaluate; the families of tags."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import vmap

from metamtl.backbones.mlp import MLP
from metamtl.backbones.text import TextEncoder
from metamtl.data.entities import entities, right_found_there
from metamtl.data.examples import ExampleSource
from metamtl.data.labelled import family_of
from metamtl.data.tagging import Entities, Tagging, tagging
from metamtl.data.task import Examples
from metamtl.errors import UsageError
from metamtl.evaluation.ratios import with_ratios

TAGS = ("O", "B-a", "I-a", "B-b", "I-b")
Span = tuple[str, int, int]


def plain(tags: Sequence[str]) -> list[Span]:
    """(type, first word, last word) of each entity, one word after another."""
    found: list[Span] = []
    open_type, start = "", 0
    for at, tag in enumerate([*tags, "O"]):
        begin, _, of_type = tag.partition("-")
        if open_type and (begin in "BO" or of_type != open_type):
            found.append((open_type, start, at - 1))
            open_type = ""
        if begin != "O" and not open_type:
            open_type, start = of_type, at
    return found


def made(seed: int, sentences: int = 40, longest: int = 9, torn: bool = True) -> list[list[str]]:
    """Random tags; with `torn` an I may follow anything."""
    draw = random.Random(seed)
    found = []
    for _ in range(sentences):
        tags: list[str] = []
        for _ in range(draw.randint(1, longest)):
            before = tags[-1] if tags else "O"
            goes_on = [f"I-{before[2:]}"] if before != "O" else []
            tags.append(draw.choice(TAGS if torn else ("O", "B-a", "B-b", *goes_on)))
        found.append(tags)
    return found


def numbered(tags: list[list[str]], length: int = 9) -> torch.Tensor:
    rows = [[TAGS.index(tag) for tag in row] + [-1] * (length - len(row)) for row in tags]
    return torch.tensor(rows)


@pytest.mark.parametrize("seed", range(3))
def test_entities_are_those_of_the_rule_read_word_by_word(seed: int) -> None:
    tags = made(seed)
    of_type, last = entities(numbered(tags))
    for row, types, ends in zip(tags, of_type.tolist(), last.tolist(), strict=True):
        spans = [("ab"[one - 1], at, end) for at, (one, end) in enumerate(zip(types, ends, strict=True)) if one]
        assert spans == plain(row)


def test_what_is_right_found_and_there_is_counted_by_type() -> None:
    there, found = made(10), made(11)
    found = [(row * 9)[: len(tags)] for row, tags in zip(found, there, strict=True)]
    counted = right_found_there(numbered(found), numbered(there), 2)
    for number, one in enumerate("ab"):
        spans = [
            ({s for s in plain(a) if s[0] == one}, {s for s in plain(b) if s[0] == one})
            for a, b in zip(found, there, strict=True)
        ]
        wanted = [sum(len(a & b) for a, b in spans), sum(len(a) for a, _ in spans), sum(len(b) for _, b in spans)]
        assert [int(kind[number]) for kind in counted] == wanted
    assert counted[0].sum() > 0


def test_later_pieces_of_words_do_not_tear_an_entity() -> None:
    """A model may cut a word: its later pieces have no label, and what is predicted there counts for nothing."""
    there = torch.tensor([[-1, 1, -1, 2, 0, -1, 3, -1]])
    found = torch.tensor([[3, 1, 4, 2, 0, 1, 3, 3]])
    assert [kind.tolist() for kind in right_found_there(found, there, 2)] == [[1, 1]] * 3


def test_figures_are_those_of_nervaluate() -> None:
    nervaluate = pytest.importorskip("nervaluate", reason="pip install 'metamtl[text]'")
    there, found = made(20, 200, torn=False), made(21, 200, torn=False)
    # half the sentences are read rightly
    found = [b if at % 2 else (a * 9)[: len(b)] for at, (a, b) in enumerate(zip(found, there, strict=True))]
    judged = nervaluate.Evaluator(there, found, tags=["a", "b"], loader="list").evaluate()
    figures = measured(found, there)
    for suffix, theirs in (("", judged["overall"]), *((f"/{one}", judged["entities"][one]) for one in "ab")):
        for name in ("f1", "precision", "recall"):
            assert figures[f"{name}{suffix}"].mean() == pytest.approx(getattr(theirs["strict"], name), abs=1e-9)


def measured(found: list[list[str]], there: list[list[str]]) -> dict[str, Any]:
    """The figures of a split as an evaluation makes them, a sentence at a time."""
    family = Entities("made", TAGS)
    outputs = torch.nn.functional.one_hot(numbered(found).clamp(min=0), 5).double()

    def one(output: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return family.counts(output.unsqueeze(0), Examples(output, labels.unsqueeze(0)))

    counts = vmap(one)(outputs, numbered(there))
    return with_ratios({name: values.double().numpy() for name, values in counts.items()}, family.ratios)


def test_words_without_a_label_take_no_part() -> None:
    torch.manual_seed(0)
    family = Tagging("made", ("noun", "verb"))
    outputs = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[0, 1, -1], [-1, -1, 1]])
    loss = family.loss(outputs, Examples(outputs, labels))
    known = torch.nn.functional.cross_entropy(outputs[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(loss, known)
    (slope,) = torch.autograd.grad(loss, outputs)
    assert not slope[labels < 0].any() and slope[labels >= 0].all()
    hits = (outputs.argmax(2) == labels)[labels >= 0].double().mean()
    assert family.metrics(outputs, Examples(outputs, labels))["accuracy"] == hits
    assert family.loss(outputs, Examples(outputs, torch.full((2, 3), -1))) == 0


def test_a_minibatch_has_the_f1_of_its_own_entities() -> None:
    there, found = made(30), made(30)
    found[0] = ["O"] * len(found[0])
    family = tagging("made", TAGS)
    outputs = torch.nn.functional.one_hot(numbered(found).clamp(min=0), 5).double()
    figures = family.metrics(outputs, Examples(outputs, numbered(there)))
    missed, every = len(plain(there[0])), sum(len(plain(row)) for row in there)
    assert figures.keys() == {"accuracy", "f1", "precision", "recall"}
    assert missed and figures["recall"] == pytest.approx((every - missed) / every) and figures["precision"] == 1


def test_the_source_says_what_is_tagged_and_the_backbone_hears_of_it() -> None:
    source = ExampleSource(
        name="made",
        kind="tagging",
        x=np.ones((3, 4, 20), dtype=np.int16),
        y=np.zeros((3, 4), dtype=np.int16),
        splits={"train": np.arange(1), "val": np.arange(1, 2), "test": np.arange(2, 3)},
        output_size=5,
        output_names=TAGS,
    )
    family = family_of(source)
    assert isinstance(family, Entities) and family.types == ("a", "b") and family.outputs == 5
    text = TextEncoder(input_shape=(4, 20), vocabulary=9, width=6, blocks=0, readout="both", norm="none")
    family.read(text)
    assert family.head(text.features)(text(torch.from_numpy(source.gather(np.arange(3))))).shape == (3, 4, 5)
    with pytest.raises(UsageError, match="labels words, of which this backbone knows nothing"):
        family.read(MLP(input_shape=(4,), hidden=[3], norm="none"))
