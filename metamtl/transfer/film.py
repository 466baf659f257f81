"""FiLM: the target's features are modulated by an embedding of its task, which is learned over tasks or carried over.

h (1 + s g(z)) + s b(z) after the normalisation of every layer, which would take a shift of all examples out again, with
z a mean over the support set; see `metamtl.backbones.film` for the papers and what is taken of each. z is made once for
a task, of weights that no inner step has changed, and inner slopes do not pass through it; the learner then adapts as
it does without. Ordinary labelled examples are one task, whose support set is a fixed sample of the training examples,
in training and at test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from metamtl.backbones.conditioning import NORMS
from metamtl.backbones.film import TaskEncoder
from metamtl.backbones.inputs import blank_inputs
from metamtl.data.family import Family
from metamtl.data.task import Examples
from metamtl.engine.network import Network
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.carry import carry, fitting
from metamtl.transfer.knowledge import Knowledge

PREFIX = "film."  # of the weights that are added to a network


@register("transfer", "film")
class FiLM(Strategy):
    """`strength` is s; z has `embedding` numbers.

    `examples` is the size of a labelled target's sample, and `tasks` how many training tasks of a source are embedded.
    """

    sources = "optional"

    def __init__(self, *, strength: float, embedding: int, examples: int, tasks: int) -> None:
        self.strength, self.embedding, self.examples, self.tasks = strength, embedding, examples, tasks

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The source's weights, and the embeddings of its tasks and of those that it had from its own source."""
        (origin,) = origins
        known = dict(origin.before.embeddings) if origin.before is not None else {}
        if self.tasks and any(name.startswith(PREFIX) for name in origin.parameters):
            known |= _embeddings(origin, self.tasks)
        return Knowledge(parameters=origin.parameters, embeddings=known)

    def condition(self, network: Network, family: Family, input_shape: tuple[int, ...], labelled: bool) -> None:
        """Layers that modulate what is normalised in the backbone, or its features where nothing is."""
        if not self.strength:
            return
        backbone = network.backbone
        if getattr(backbone, "of_words", False) or getattr(backbone, "of_maps", False):
            raise UsageError(
                f"transfer=film embeds a task by the features of whole examples; {family.name} asks for those of words "
                "or of pixels: take a strategy that carries weights."
            )
        kept = None
        if labelled:
            kept = Examples(
                blank_inputs(backbone, self.examples, input_shape), torch.zeros(self.examples, family.targets)
            )
        with torch.random.fork_rng(devices=[]):  # all other weights begin as without it
            network.film = TaskEncoder(
                _places(backbone, input_shape),
                features=backbone.features,  # type: ignore[arg-type]
                targets=family.targets,
                embedding=self.embedding,
                strength=self.strength,
                kept=kept,
            )

    def meet(self, network: Network, draw: Callable[[int], Examples]) -> None:
        """The sample that stands for a labelled target."""
        if network.film is not None and network.film.has_sample:
            network.film.keep(draw(self.examples))

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's backbone, and its task encoder where it has one; else modulation that changes nothing yet."""
        known = knowledge.parameters
        if network.film is None:  # of strength 0
            carry(network, Knowledge(parameters={n: t for n, t in known.items() if not n.startswith(PREFIX)}))
            return
        carry(network, knowledge)
        if any(name.startswith(PREFIX) for name in known):
            with torch.no_grad():
                for name, weight in network.film.named_parameters(prefix=PREFIX.rstrip(".")):
                    weight.copy_(fitting(name, weight, known, knowledge.provenance))


def _embeddings(origin: Origin, count: int) -> dict[str, Tensor]:
    """Z of the source's first training tasks by RUN@WEIGHTS/NUMBER, or of its one task by RUN@WEIGHTS.

    WEIGHTS is the beginning of the weights' checksum, since runs in two folders may have one name.
    """
    trained = origin.trained()
    run = f"{origin.provenance['run']}@{origin.provenance['sha256'][:8]}"
    network, supports = trained.network, trained.supports(count)
    with torch.no_grad():
        if not supports:
            return {run: network.embedding(None).cpu()}
        return {f"{run}/{number}": network.embedding(one).cpu() for number, one in enumerate(supports)}


def _places(backbone: nn.Module, input_shape: tuple[int, ...]) -> list[tuple[nn.Module, int]]:
    """The backbone's layers of normalisation, or itself, each with the channels that it puts out of zeros."""
    norms: list[nn.Module] = [module for module in backbone.modules() if isinstance(module, NORMS)]
    found: list[tuple[nn.Module, int]] = []

    def seen(layer: nn.Module, inputs: tuple[Tensor, ...], h: Tensor) -> None:
        found.append((layer, h.shape[1 if h.dim() == 4 else -1]))

    hooks = [layer.register_forward_hook(seen) for layer in norms or [backbone]]
    with torch.no_grad():
        backbone(blank_inputs(backbone, 2, input_shape))
    for hook in hooks:
        hook.remove()
    return found
