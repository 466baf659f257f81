"""The network of a learner, called with explicit weights, statistics and noise.

A pass never changes the network. Which statistics its normalisation uses follows from three facts: the kind of
normalisation, the phase (meta-training or testing) and whether queries may be normalised by their own batch:

| norm    | support passes            | query passes                                                  |
| batch   | the batch's               | the query batch's (transductive), else those of the support   |
| running | the batch's; stored ones when testing | the batch's, which enter the averages; stored when testing |
| group, none | none to choose        | none to choose                                                |

Where a `TaskEncoder` modulates the network, what it makes of a task's support set is one more thing that every pass of
the task takes, and that goes with the support set's statistics to where queries are met later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metamtl.backbones.film import TaskEncoder
from metamtl.backbones.noise import DropBlock, mix
from metamtl.backbones.norm import BatchNorm, NormKind, Statistics
from metamtl.data.task import Examples, Tensors
from metamtl.errors import UsageError

Weights = dict[str, Tensor]


class Network(nn.Module):
    """A backbone and a head (none for learners that compare features)."""

    def __init__(self, backbone: nn.Module, head: nn.Module | None, norm: NormKind) -> None:
        super().__init__()
        self.backbone, self.head, self.norm = backbone, head, norm
        self.transductive = True
        self._norms = [module for module in self.modules() if isinstance(module, BatchNorm)]
        self._noises = [module for module in self.modules() if isinstance(module, DropBlock)]
        self._noise: Tensor | None = None
        self._passes = 0
        self._observed: list[list[Statistics]] = []
        self.film: TaskEncoder | None = None
        self._pairs: list[Statistics] | None = None

    # ---- passes ----

    def support(self, x: Tensors, weights: Mapping[str, Tensor] | None = None, head: bool = True) -> Tensor:
        """Outputs of a support set x [S, ...] (features when `head` is false)."""
        return self._pass(x, weights, self._stored(), head)[0]

    def support_statistics(self, x: Tensors, weights: Mapping[str, Tensor] | None = None) -> list[Statistics] | None:
        """The batch statistics of a support set that its queries are normalised by; None where they need none.

        Then, where the network is modulated, the scales and shifts of its task.
        """
        of_task = self._modulation()
        if self.norm != "batch" or self.transductive:
            return of_task or None
        return [*self._pass(x, weights, None, head=False, traced=True)[1], *of_task]

    def query(
        self,
        x: Tensors,
        weights: Mapping[str, Tensor] | None = None,
        statistics: list[Statistics] | None = None,
        head: bool = True,
    ) -> Tensor:
        """Outputs of queries x [Q, ...]; `statistics` are those of the support set."""
        given, of_task = self._apart(statistics)
        outputs, used = self._pass(x, weights, given or self._stored(), head, of_task=of_task)
        if self.training and self.norm == "running":
            self._observed.append(used)
        return outputs

    def classify(self, features: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """The head's outputs of features [N, features], with weights named as in the whole network."""
        assert self.head is not None
        head = {name.removeprefix("head."): weight for name, weight in weights.items()}
        outputs: Tensor = functional_call(self.head, head, (features,))
        return outputs

    @property
    def constants(self) -> set[str]:
        """The names of weights by which no pass takes slopes: a frozen encoder's."""
        places = self.backbone.named_modules(prefix="backbone")
        return {f"{place}.{name}" for place, module in places for name in getattr(module, "constants", ())}

    @property
    def adaptable(self) -> Weights:
        """The weights that inner steps may change, by their names: all but `constants`."""
        fixed = self.constants
        return {name: weight for name, weight in self.named_parameters() if name not in fixed}

    @property
    def depends_on_batch(self) -> bool:
        """Whether the features of an example change with the examples it is passed with, or with the task."""
        return self.norm == "batch" or (self.norm == "running" and self.training) or self.film is not None

    # ---- one task's noise, statistics and embedding ----

    @property
    def noise(self) -> Tensor | None:
        """The key of the task that runs, of the run's seed and the task's number; None where nothing is drawn."""
        return self._noise

    @contextmanager
    def task(self, noise: Tensor | None, support: Examples | None = None) -> Iterator[None]:
        """While one task runs: its noise key (None when nothing is dropped), and its query statistics apart.

        A modulated network needs the `support` set, unless queries come with its statistics.
        """
        before = self._pairs
        self._noise, self._passes, self._observed = noise, 0, []
        try:
            self._pairs = self._pairs_of(support)
            yield
        finally:
            self._noise, self._observed, self._pairs = None, [], before

    def embedding(self, support: Examples | None) -> Tensor:
        """The embedding z [K] of a support set, or of the examples that stand for the network's one task."""
        assert self.film is not None
        examples = self.film.sample or support
        assert examples is not None
        features, _ = self._pass(examples.x, None, self._stored(), head=False, of_task=[])
        return self.film.embed(features, examples.labels)

    def moment(self) -> Callable[[], AbstractContextManager[None]]:
        """What sets this task's noise and number of passes back to what they are now, for a while."""
        noise, passes, pairs = self._noise, self._passes, self._pairs

        @contextmanager
        def again() -> Iterator[None]:
            now = self._noise, self._passes, self._observed, self._pairs
            self._noise, self._passes, self._observed, self._pairs = noise, passes, [], pairs
            try:
                yield
            finally:
                self._noise, self._passes, self._observed, self._pairs = now

        return again

    def observed(self) -> list[Statistics]:
        """Per normalisation layer, the mean over this task's query passes of the statistics they used."""
        if not self._observed:
            return []
        return [
            (torch.stack([mean for mean, _ in layer]).mean(0), torch.stack([var for _, var in layer]).mean(0))
            for layer in zip(*self._observed, strict=True)
        ]

    @property
    def running_layers(self) -> int:
        """How many layers keep running averages."""
        return len(self._norms) if self.norm == "running" else 0

    def update_running(self, statistics: list[Statistics], momentum: float = 0.1) -> None:
        """Moves the running averages towards the statistics of an update."""
        with torch.no_grad():
            for layer, (mean, var) in zip(self._norms, statistics, strict=True):
                layer.running_mean.lerp_(mean, momentum)
                layer.running_var.lerp_(var, momentum)

    # ---- within ----

    def forward(self, x: Tensors, head: bool) -> Tensor:
        """Outputs, or features, with whatever weights and statistics are set."""
        features: Tensor = self.backbone(x)
        return self.head(features) if head and self.head is not None else features

    def _stored(self) -> list[Statistics] | None:
        if self.norm != "running" or self.training:
            return None
        return [(layer.running_mean, layer.running_var) for layer in self._norms]

    def _pairs_of(self, support: Examples | None) -> list[Statistics] | None:
        """What modulates the passes of a task; None where there is nothing to know it from."""
        if self.film is None or (support is None and not self.film.has_sample):
            return None
        return self.film.pairs(self.embedding(support))

    def _modulation(self) -> list[Statistics]:
        """The same for a pass that was told of no other; [] where the network is not modulated."""
        if self.film is None:
            return []
        pairs = self._pairs if self._pairs is not None else self._pairs_of(None)
        if pairs is None:
            raise UsageError(
                "transfer=film: this network is modulated by the support set of a task, and here it is asked for "
                "features without one: take a source or a model that was trained without film."
            )
        return pairs

    def _apart(self, statistics: list[Statistics] | None) -> tuple[list[Statistics] | None, list[Statistics] | None]:
        """What `support_statistics` gave as the statistics of norms, and what modulates the task's queries."""
        if self.film is None or not statistics:
            return statistics, None
        norms = len(statistics) - len(self.film.layers)
        return statistics[:norms], statistics[norms:]

    def _pass(
        self,
        x: Tensors,
        weights: Mapping[str, Tensor] | None,
        given: list[Statistics] | None,
        head: bool,
        traced: bool = False,
        of_task: list[Statistics] | None = None,
    ) -> tuple[Tensor, list[Statistics]]:
        if self.film is not None:
            self.film.give(self._modulation() if of_task is None else of_task)
        for number, norm in enumerate(self._norms):
            norm.given = None if given is None else given[number]
            norm.traced = traced
        for number, drop in enumerate(self._noises):
            drop.noise = None if self._noise is None else mix(self._noise, self._passes * len(self._noises) + number)
        self._passes += 1
        try:
            outputs = self(x, head) if weights is None else functional_call(self, dict(weights), (x, head))
            return outputs, [norm.used for norm in self._norms if norm.used is not None]
        finally:
            if self.film is not None:
                self.film.give([])
            for norm in self._norms:
                norm.given = norm.used = None
            for drop in self._noises:
                drop.noise = None
