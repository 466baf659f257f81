"""Rules: what is known of the answers beforehand, as soft logic on predicted probabilities.

Diligenti, Gori & Sacca (2017), Semantic-based regularization for learning and inference, Artificial Intelligence 244:
each rule is a formula whose truth lies in [0, 1] under a t-norm, and 1 - truth, the mean over examples, is the penalty,
for examples without a label too. With truths a and b:

    rule              lukasiewicz           product
    if a then b       max(0, a - b)         a (1 - b)
    never a and b     max(0, a + b - 1)     a b

An atom is `{classes: [0, 6]}`, the probability of any of these classes (of attributes, which do not exclude one
another, name one), or `{input: 27, above: 0.5}` (or `below`), whether a number of the input is so. `rises` is
monotonicity: max(0, p(x) - p(x')) for x' with that input raised, as in Sill & Abu-Mostafa (1997), Monotonicity Hints,
NeurIPS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from metamtl.data.dense import SeveralClasses
from metamtl.data.family import Classification, Family
from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.base import Strategy

Logic = Literal["lukasiewicz", "product"]
Rule = Mapping[str, Any]
FORMS = ({"if", "then"}, {"never", "and"}, {"rises", "with"})


class Constraints(Term):
    """The sum of the rules' penalties."""

    needs_minibatches = True

    def __init__(self, weight: float, rules: Sequence[Rule], logic: Logic, exclusive: bool) -> None:
        super().__init__(weight, "outer")
        self.rules, self.logic, self.exclusive = rules, logic, exclusive

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        x = view.examples.x
        if not isinstance(x, Tensor):
            raise UsageError("transfer=rules reads single numbers of an input; these examples have several parts.")
        p = self.chances(view.outputs)
        return torch.stack([self._broken(rule, x, p, view).mean() for rule in self.rules]).sum()

    def chances(self, outputs: Tensor) -> Tensor:
        """Probabilities [N, classes]; of attributes, those of each by itself."""
        return outputs.softmax(1) if self.exclusive else outputs.sigmoid()

    def _broken(self, rule: Rule, x: Tensor, p: Tensor, view: View) -> Tensor:
        """How false [N] a rule is of each example."""
        if "if" in rule:
            return implication(truth(rule["if"], x, p), truth(rule["then"], x, p), self.logic)
        if "never" in rule:
            return exclusion(truth(rule["never"], x, p), truth(rule["and"], x, p), self.logic)
        raised = x.flatten(1).clone()
        raised[:, rule["with"]["input"]] += rule["with"]["by"]
        after = self.chances(view.network.support(raised.view_as(x), view.weights))
        fallen: Tensor = truth(rule["rises"], x, p) - truth(rule["rises"], x, after)
        return fallen.clamp(min=0)


def implication(a: Tensor, b: Tensor, logic: Logic) -> Tensor:
    """How false [N] it is that b follows from a."""
    return a * (1 - b) if logic == "product" else (a - b).clamp(min=0)


def exclusion(a: Tensor, b: Tensor, logic: Logic) -> Tensor:
    """How false [N] it is that a and b are never both so."""
    return a * b if logic == "product" else (a + b - 1).clamp(min=0)


def truth(atom: Mapping[str, Any], x: Tensor, p: Tensor) -> Tensor:
    """The truth [N] of an atom of inputs x [N, ...] and probabilities p [N, classes]."""
    if "classes" in atom:
        return p[:, list(atom["classes"])].sum(1)
    value = x.flatten(1)[:, atom["input"]]
    holds: Tensor = value > atom["above"] if "above" in atom else value < atom["below"]
    return holds.to(p.dtype)


@register("transfer", "rules")
class Rules(Strategy):
    """`constraints` are rules, `logic` the t-norm; there is no source."""

    sources = "none"

    def __init__(self, *, weight: float, logic: Logic, constraints: Sequence[Rule]) -> None:
        self.weight, self.logic, self.constraints = weight, logic, constraints

    def terms(self, network: Network, family: Family) -> list[Term]:
        """One, unless its weight is zero; UsageError with every rule that is none."""
        exclusive = isinstance(family, Classification)
        if not exclusive and not isinstance(family, SeveralClasses):
            raise UsageError("transfer=rules speaks of classes or attributes; this family has none.")
        problems = [f"transfer.rules.constraints: {said}" for rule in self.constraints for said in wrong(rule, family)]
        if not self.constraints:
            problems = ["transfer.rules.constraints: write at least one rule, as [{if: ATOM, then: ATOM}]."]
        if problems:
            raise UsageError(*problems)
        return [Constraints(self.weight, self.constraints, self.logic, exclusive)] if self.weight else []

    def check(self, input_shape: tuple[int, ...]) -> None:
        """UsageError with every atom and change that reads beyond the numbers of an input; counted from 0 alone."""
        count = prod(input_shape)
        read = [one for rule in self.constraints for one in rule.values() if "input" in one]
        if beyond := [one for one in read if one["input"] not in range(count)]:
            said = f"names another input than 0 to {count - 1}."
            raise UsageError(*(f"transfer.rules.constraints: {dict(one)} {said}" for one in beyond))


def wrong(rule: Rule, family: Family) -> list[str]:
    """A sentence for each thing that is wrong with a rule."""
    if set(rule) not in FORMS:
        return [f"{dict(rule)} is no rule: write {{if, then}}, {{never, and}} or {{rises, with}}."]
    found = []
    for key, atom in rule.items():
        checks: Callable[[Any, Family], str | None] = _wrong_change if key == "with" else _wrong_atom
        if key == "rises" and isinstance(atom, Mapping) and "classes" not in atom:
            found.append(f"{dict(atom)} does not rise: name {{classes: [...]}}.")
        elif said := checks(atom, family):
            found.append(said)
    return found


def _wrong_atom(atom: Any, family: Family) -> str | None:
    if not isinstance(atom, Mapping) or set(atom) not in ({"classes"}, {"input", "above"}, {"input", "below"}):
        return f"{atom} is no atom: write {{classes: [0, 1]}}, {{input: 3, above: 0.5}} or {{input: 3, below: 0.5}}."
    classes = atom.get("classes", [])
    if not isinstance(classes, Sequence) or not all(c in range(family.outputs) for c in classes):
        return f"{dict(atom)} names other classes than 0 to {family.outputs - 1}."
    if len(classes) > 1 and not isinstance(family, Classification):
        return f"{dict(atom)} names several attributes, which do not exclude one another: name one."
    return None if "classes" in atom or isinstance(atom["input"], int) else f"{dict(atom)}: input must be an integer."


def _wrong_change(change: Any, family: Family) -> str | None:
    if not isinstance(change, Mapping) or set(change) != {"input", "by"} or not isinstance(change["input"], int):
        return f"{change} is no change of an input: write {{input: 3, by: 0.1}}."
    return None
