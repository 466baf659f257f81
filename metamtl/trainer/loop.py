"""The training loop: update, validate, save, until the last step of the last stage.

Everything a step does is a function of the weights, the optimiser's state and the step's number; a run that was
stopped anywhere and resumed therefore ends as an unbroken one does, bit for bit.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import torch

from metamtl.config.stages import stage_options
from metamtl.engine.update import Update
from metamtl.engine.world import World
from metamtl.errors import Diverged, UsageError
from metamtl.families import Families
from metamtl.runs.folder import RunFolder
from metamtl.runs.metrics import MetricStream
from metamtl.trackers.group import TrackerGroup
from metamtl.trainer import checkpoint
from metamtl.trainer.checkpoint import Progress, State
from metamtl.trainer.elsewhere import Elsewhere
from metamtl.trainer.optim import average_decay, clip, make_optimizer, rate_factor, rates, set_rate
from metamtl.trainer.progress import Display
from metamtl.trainer.relatedness import measured
from metamtl.trainer.run import Watch
from metamtl.trainer.selection import heard
from metamtl.trainer.signals import STOPPING, StopRequest, interruption
from metamtl.trainer.streams import FamiliesStream, Stream, stream_of
from metamtl.trainer.transfer import Application
from metamtl.trainer.validation import validate

_logger = logging.getLogger(__name__)


class Trainer:
    """Trains the learners of `families`; `run` and `metrics` are None on processes other than the first."""

    def __init__(
        self,
        families: Families,
        world: World,
        run: RunFolder | None,
        metrics: MetricStream | None,
        trackers: TrackerGroup,
        stop: StopRequest,
        watch: Watch | None = None,
    ) -> None:
        self.families, self.world, self.run, self.metrics = families, world, run, metrics
        self.trackers, self.stop, self.watch = trackers, stop, watch
        self.options: Mapping[str, Any] = families.config["trainer"]
        self.transfer = Application(families)
        self.stages = families.stages
        self.stage_options = [stage_options(self.options, stage.name) for stage in self.stages]
        self.state = State(Progress(), self._optimizer(0), None)
        self.display = Display("", 0, 0, visible=False)

    def restore(self, content: dict[str, Any]) -> None:
        """Goes on from a checkpoint's content; UsageError where fewer steps are asked for than are done."""
        progress = self.state.progress = Progress(**content["progress"])
        if self.stages and progress.step > self._steps(progress.stage):
            raise UsageError(f"{progress.step} steps are done already: set trainer.steps={progress.step} or more.")
        progress.stopped_early = self._out_of_patience(progress)  # a resumed run may have another patience
        self.state.optimizer = self._optimizer(progress.stage)
        checkpoint.restore(content, self.families.module, self.state)

    def train(self) -> None:
        """All that remains of the stages; raises Interrupted where a signal stopped it, with all saved."""
        progress = self.state.progress
        total = sum(self._steps(number) for number in range(len(self.stages)))
        with Display(self.families.title, total, progress.total, self.world.first) as self.display:
            if progress.total == 0:
                self._begin(progress, progress.stage)
                self._save()
            if progress.stopped_early:
                self.display.note(f"stopped at step {progress.total}: raise trainer.patience to train on")
            for number in range(progress.stage, len(self.stages)):
                if number > progress.stage:
                    self._begin(progress, number)
                self._train_stage(progress)
            self._save()
            # after the last save, so that a run resumed with more steps drops what only its end asked for
            if progress.validated != progress.total:
                self._validate(progress)
            self._record_means(progress)
            self._refuse_no_figure(progress)

    # ---- a stage ----

    def _begin(self, progress: Progress, stage: int) -> None:
        """A stage is trained, averaged and selected for itself."""
        progress.stage, progress.step = stage, 0
        progress.stopped_early, progress.stale = False, 0
        progress.best_step = progress.best_value = self.state.ema = None
        progress.validated = -1
        if self.stages:  # a learner without weights has none
            self.families.begin_stage(self.stages[stage].name)
        self.state.optimizer = self._optimizer(stage)

    def _train_stage(self, progress: Progress) -> None:
        stream = stream_of(self.families, self.stages[progress.stage], self.world)
        elsewhere = None
        if self.families.weighting is not None and isinstance(stream, FamiliesStream):
            elsewhere = self.families.weighting.probe = Elsewhere(self.families, stream, self.world)
        steps, every = self._steps(progress.stage), self.families.config["relatedness"]["every"]
        self.families.module.train()
        while progress.step < steps and not progress.stopped_early:
            if elsewhere is not None and every is not None and progress.step % every == 0:
                self._record(progress.total, "train", measured(self.families, elsewhere, progress.step))
            stopping, better = self._step(stream, progress, steps), False
            if progress.total % self.options["validate_every"] == 0:
                better = self._validate(progress)
            # with a new best.pt at once, so that of best.pt and the one before, one always belongs to last.pt
            if stopping or better or progress.total % self.options["checkpoint_every"] == 0:
                self._save()
            if stopping:
                raise interruption(stopping)

    def _step(self, stream: Stream, progress: Progress, steps: int) -> int:
        """One update; returns the signal that asks to stop after it, 0 for none."""
        started, waited = time.perf_counter(), stream.waited
        options = self.stage_options[progress.stage]
        rate = options["optimizer"]["lr"] * rate_factor(options["schedule"], progress.step, steps)
        self.families.place(self.stages[progress.stage].name, progress.step / steps)
        with self.families.first.autocast():
            update = stream.update(progress.step)
        stopping, figures = self._share(update)
        update.gradient = self.families.combined(update.gradient, figures, progress.step)
        figures |= {f"weight/{family}": share for family, share in self.families.shares.items()}
        update.gradient = self.transfer.changed(update.gradient, progress.step)
        gradients = list(update.gradient.values())
        norm = clip(gradients, options["clip_norm"], options["clip_value"]).item()
        finite = math.isfinite(figures["loss"]) and math.isfinite(norm)
        if finite:
            self._apply(update, rate, progress.step)
        else:
            self._not_finite(progress, rate, figures["loss"], norm)
        progress.step, progress.total = progress.step + 1, progress.total + 1
        progress.tasks += update.tasks
        progress.seconds += time.perf_counter() - started
        progress.waited += stream.waited - waited
        progress.weighing += self.families.weighing
        self._log(progress, {**figures, "gradient_norm": norm} if finite else {}, rate)
        return stopping

    def _share(self, update: Update) -> tuple[int, dict[str, float]]:
        """Turns this process's sums into means over all processes, in place; the signal to stop and the figures."""
        weights = list(update.gradient.values())
        like = weights[0]
        sums = [values.sum().to(like.dtype) for values in update.figures.values()]
        received = self.stop.signal  # read once: it may change at any time, and all processes must agree on it
        asked = [like.new_tensor(received == number) for number in STOPPING]
        moments = [tensor for pair in update.statistics for tensor in pair]
        extra = torch.stack([*sums, like.new_tensor(update.tasks), *asked])
        *shared, extra = self.world.sum([*weights, *moments, extra])
        numbers: list[float] = extra.tolist()
        update.tasks = round(numbers[len(sums)])
        means = [tensor / update.tasks for tensor in shared]
        update.gradient = dict(zip(update.gradient, means[: len(weights)], strict=True))
        moments = means[len(weights) :]
        update.statistics = list(zip(moments[::2], moments[1::2], strict=True))
        figures = {name: value / update.tasks for name, value in zip(update.figures, numbers, strict=False)}
        stopping = (number for number, count in zip(STOPPING, numbers[len(sums) + 1 :], strict=True) if count)
        return next(stopping, 0), figures

    def _apply(self, update: Update, rate: float, step: int) -> None:
        module, state = self.families.module, self.state
        for name, weight in module.named_parameters():
            weight.grad = update.gradient.get(name)
        set_rate(state.optimizer, rate, lambda part: self.transfer.rate(part, step))
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        if update.statistics:
            self.families.update_running(update.statistics, step)
        state.ema = checkpoint.update_ema(state.ema, module, average_decay(self.options, step))

    def _not_finite(self, progress: Progress, rate: float, loss: float, norm: float) -> None:
        progress.skipped += 1
        where = (
            f"Step {progress.total + 1} is not finite (loss {loss:g}, gradient norm {norm:g}; {self._tasks(progress)}; "
            f"{rates(self.families.config, rate)})"
        )
        if self.options["on_nan"] == "stop":
            raise Diverged(f"{where}: lower a rate, or resume with trainer.on_nan=skip; the last checkpoint is intact.")
        if progress.skipped > self.options["nan_limit"]:
            raise Diverged(f"{where}, and trainer.nan_limit={self.options['nan_limit']} skips are used up.")
        said = f"{where}: skipped ({progress.skipped} of {self.options['nan_limit']})."
        self.display.note(said, logging.WARNING)

    def _tasks(self, progress: Progress) -> str:
        stage = self.stages[progress.stage]
        if stage.stream != "episodes":
            return f"minibatch {progress.step} of the stage '{stage.name}'"
        count = self.stage_options[progress.stage]["meta_batch"]
        return f"training tasks {progress.step * count} to {(progress.step + 1) * count - 1}"

    # ---- validation, records ----

    def _validate(self, progress: Progress) -> bool:
        """Records the validation; returns whether it is the best so far."""
        families = self.families
        progress.validated = progress.total
        with checkpoint.averaged(families.module, self.state.ema):
            found = validate(families, self.world, progress.first)
            others = heard(families, self.run, progress)
            better = _improves(found.score, progress.best_value, found.higher_is_better)
            if better and self.run is not None:
                checkpoint.save_best(self.run, families.module, progress.total)
        if better:
            progress.best_step, progress.best_value, progress.stale = progress.total, found.score, 0
        else:
            progress.stale += 1
        progress.stopped_early = self._out_of_patience(progress)
        self._record(progress.total, "val", {**found.values, **others})
        self.display.note(f"step {progress.total}: validation {found.text}{'  (best)' if better else ''}")
        if math.isnan(found.score):
            _logger.warning(
                "Step %d: the validation's figure is not a number, as outputs have grown without bound: lower a rate.",
                progress.total,
            )
        if self.watch is not None:
            self.watch(progress.total, found.values)
        return better

    def _refuse_no_figure(self, progress: Progress) -> None:
        """Diverged where no validation gave a number: then none of the weights was chosen, and none is worth a test."""
        if progress.best_value is None or math.isfinite(progress.best_value):
            return
        options = self.stage_options[progress.stage] if self.stages else self.options
        those = rates(self.families.config, options["optimizer"]["lr"])
        raise Diverged(
            f"Diverged: no validation up to step {progress.total} gave a number, as outputs have grown without bound, "
            f"and nothing is tested: lower a rate ({those}) in a new run."
        )

    def _out_of_patience(self, progress: Progress) -> bool:
        patience = self.options["patience"]
        return patience is not None and progress.stale >= patience

    def _log(self, progress: Progress, figures: dict[str, float], rate: float) -> None:
        if figures:  # a skipped update has none
            for name, value in {**figures, "lr": rate}.items():
                progress.absent.setdefault(name, progress.summed)
                progress.sums[name] = progress.sums.get(name, 0.0) + value
            for name in progress.sums.keys() - figures.keys() - {"lr"}:  # a family that this update was made without
                progress.absent[name] += 1
            progress.summed += 1
        speed = progress.tasks / max(progress.seconds, 1e-9)
        shown = {name: figures[name] for name in ("loss", self.families.first.family.metric) if name in figures}
        self.display.step(progress.total, shown, speed)
        if progress.total % self.options["log_every"] == 0:
            self._record_means(progress)
            progress.sums, progress.absent, progress.summed = {}, {}, 0

    def _record_means(self, progress: Progress) -> None:
        if progress.summed:
            means = {
                f"train/{name}": value / (progress.summed - progress.absent.get(name, 0))
                for name, value in progress.sums.items()
            }
            speed = progress.tasks / max(progress.seconds, 1e-9)
            times = {"time/tasks_per_second": speed, "time/seconds": progress.seconds}
            times["time/data_wait"] = progress.waited / max(progress.seconds, 1e-9)
            self._record(progress.total, "train", {**means, **times})

    def _record(self, step: int, split: str, values: dict[str, float]) -> None:
        if self.metrics is not None:
            self.metrics.write(step, split, values)
            self.trackers.log(step, values)

    def _save(self) -> None:
        if self.run is not None and self.metrics is not None:
            checkpoint.save(self.run, self.families, self.state, self.metrics.position())

    def _optimizer(self, stage: int) -> torch.optim.Optimizer:
        options = self.stage_options[stage] if self.stages else self.options
        return make_optimizer(options["optimizer"], self.transfer.groups())

    def _steps(self, stage: int) -> int:
        return int(self.stage_options[stage]["steps"])


def _improves(value: float, best: float | None, higher_is_better: bool) -> bool:
    if best is None or math.isnan(best):
        return best is None or not math.isnan(value)
    return value > best if higher_is_better else value < best
