"""The source as a teacher: its network beside the learner, frozen, never saved with it and never trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from metamtl.data.family import Classification, Family
from metamtl.data.task import Tensors
from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.errors import UsageError
from metamtl.registry import build
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.knowledge import Knowledge


class Teacher(nn.Module):
    """A network whose weights are buffers that no checkpoint holds, always in its test phase."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        for module in network.modules():
            for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                delattr(module, name)
                module.register_buffer(name, tensor.detach(), persistent=False)
        self.network = network
        super().train(False)

    def train(self, mode: bool = True) -> Teacher:
        """Stays in its test phase."""
        return self


class TaughtTerm(Term):
    """A penalty that compares the learner with a teacher, which `remember` of the strategy gives it."""

    def __init__(self, weight: float) -> None:
        super().__init__(weight, "outer")

    @property
    def teacher(self) -> Network:
        """The teacher's network."""
        return cast(Teacher, self.get_submodule("held")).network

    def hold(self, network: Network) -> None:
        """Takes a teacher."""
        self.add_module("held", Teacher(network))

    def taught(self, x: Tensors) -> Tensor:
        """What the teacher says of inputs: its features [N, D]."""
        return self.teacher.query(x, head=False)

    def compared(self, network: Network, x: Tensor) -> None:
        """The teacher reads x."""
        self.taught(x)


def features_of(view: View) -> Tensor:
    """The learner's features [N, D] under the weights of the view; the pass leaves running averages alone."""
    return view.network.support(view.examples.x, view.weights, head=False)


def whole(features: Tensor) -> Tensor:
    """Features [N, D] as they are; UsageError for those of words or of pixels, which have more axes."""
    if features.dim() != 2:
        raise UsageError(
            "transfer: this strategy compares the features of whole examples; the data asks for those of words or of "
            "pixels: take a strategy that carries weights."
        )
    return features


def refuse_without_classes(name: str, family: Family) -> None:
    """UsageError where outputs are not those of classes of which an example has one."""
    if not isinstance(family, Classification):
        raise UsageError(
            f"transfer={name} reads outputs as the probabilities of fixed classes, of which {family.name} has none: "
            "compare features (transfer=rkd, fitnet) or carry weights (transfer=finetune)."
        )


class Taught(Strategy):
    """Base of strategies with a teacher; the learner begins where it would without one."""

    def __init__(self, *, weight: float) -> None:
        self.weight = weight

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The source's weights and what rebuilds its network."""
        (origin,) = origins
        return Knowledge(parameters=origin.parameters, teacher=record_of(origin))

    @abstractmethod
    def term(self) -> TaughtTerm:
        """The penalty."""

    def terms(self, network: Network, family: Family) -> list[Term]:
        """One, unless its weight is zero."""
        return [self.term()] if self.weight else []

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """Gives the term its teacher; UsageError where the two cannot be compared."""
        for term in terms:
            assert isinstance(term, TaughtTerm)
            teacher = teacher_of(knowledge)
            self.refuse_unlike(network, teacher)
            term.hold(teacher)

    def refuse_unlike(self, network: Network, teacher: Network) -> None:
        """UsageError where the teacher cannot be compared with the network; nothing to refuse by default."""


def record_of(origin: Origin) -> dict[str, Any]:
    """What rebuilds a source's network, beside its parameters."""
    shape = list(origin.trained().input_shape)
    return {"backbone": origin.backbone, "input_shape": shape, "outputs": _outputs(origin.parameters)}


def teacher_of(knowledge: Knowledge) -> Network:
    """The source's network; UsageError where its head is not one that can be rebuilt."""
    return network_of(knowledge.teacher, knowledge.parameters)


def network_of(record: Mapping[str, Any], parameters: Mapping[str, Tensor]) -> Network:
    """The network that `record_of` describes; UsageError where its head is not one that can be rebuilt."""
    if any(name.startswith("film.") for name in parameters):
        raise UsageError(
            "transfer.source: its features are modulated by its task (transfer=film), and a teacher has no task: take "
            "a source that was trained without film."
        )
    options = record["backbone"]
    backbone = build("backbone", options, input_shape=tuple(record["input_shape"]))
    head = nn.Linear(backbone.features, record["outputs"]) if record["outputs"] else None
    network = Network(backbone, head, options["norm"])
    missing = network.load_state_dict(parameters, strict=False).missing_keys
    if missing:
        raise UsageError(f"transfer.source: its network cannot be rebuilt as a teacher ({missing[0]} is not there).")
    return network.to(next(iter(parameters.values())).dtype)


def _outputs(parameters: Mapping[str, Tensor]) -> int:
    head = parameters.get("head.weight")
    return 0 if head is None or head.dim() != 2 else len(head)
