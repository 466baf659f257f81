"""The study: which trial is next, what validation said of it, and how it ended.

Trials count by one rule, which every command reads from the storage alone: those that have not failed, in the order
of their numbers, as many as `sweep.trials`. A trial is made waiting and taken by one step of the storage, so no two
commands train it, and where two make one too many it is never taken. A trial whose command died is taken over under
its own number, with its values; its run goes on from the last checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metamtl.errors import UsageError
from metamtl.sweep.owners import Owner, beat_key
from metamtl.sweep.request import Request
from metamtl.sweep.search import make_pruner, make_sampler

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

MOST_DEATHS = 3  # of a trial's process, before the trial counts as failed


@dataclass
class Claim:
    """A trial that this command trains; `values`: key -> text as on the command line."""

    trial: Trial
    values: dict[str, str]

    @property
    def number(self) -> int:
        """The trial's number, which names its folder."""
        return self.trial.number


def join_study(request: Request, storage: BaseStorage, name: str) -> Study:
    """The study `name`, made if it is not there; UsageError where it is another sweep's."""
    import optuna
    from optuna.study import StudyDirection

    direction = StudyDirection.MAXIMIZE if request.higher_is_better else StudyDirection.MINIMIZE
    study = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
    there = study.user_attrs.get("request")
    if there is not None and there != request.essence():
        differs = [key for key in there if there[key] != request.essence().get(key)]
        raise UsageError(
            f"The study {name} in this storage was begun with another {', '.join(differs)}: "
            "give the same command, or another sweep.name."
        )
    study.set_user_attr("request", request.essence())
    study.set_user_attr("trials", request.options["trials"])
    return study


class Ledger:
    """This command's view of the study."""

    def __init__(self, study: Study, storage: BaseStorage, request: Request) -> None:
        self.study, self.storage, self.request = study, storage, request
        self.pruner = make_pruner(request.options, request.steps, request.validate_every)
        self._beat = 0

    # ---- taking trials ----

    def claim(self, owner: Owner) -> Claim | None:
        """The next trial to train, signed; None where all are finished or trained by others."""
        while True:
            counted = self.counted()
            for trial in counted:
                if not trial.state.is_finished() and self._take(trial, owner):
                    return self._begin(trial)
            if len(counted) >= self.wanted():
                return None
            # signed from the start: between being taken and being signed it would seem to be nobody's
            self.study.enqueue_trial({}, user_attrs={"owner": owner.record})

    def counted(self) -> list[FrozenTrial]:
        """The trials that count, in the order of their numbers."""
        from optuna.trial import TrialState

        alive = [trial for trial in self.trials() if trial.state != TrialState.FAIL]
        return alive[: self.wanted()]

    def wanted(self) -> int:
        """How many trials are to finish: what the last command said, whichever it was."""
        return int(self.study.user_attrs["trials"])

    def finished(self) -> bool:
        """Whether all trials that count have ended."""
        counted = self.counted()
        return len(counted) >= self.wanted() and all(trial.state.is_finished() for trial in counted)

    def trials(self) -> list[FrozenTrial]:
        """All trials of the study."""
        return sorted(self.study.get_trials(deepcopy=False), key=lambda trial: trial.number)

    def failures(self) -> list[FrozenTrial]:
        """The trials that failed."""
        from optuna.trial import TrialState

        return [trial for trial in self.trials() if trial.state == TrialState.FAIL]

    def _take(self, trial: FrozenTrial, owner: Owner) -> bool:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        signature, waiting = trial.user_attrs.get("owner"), trial.state == TrialState.WAITING
        mine = owner.is_me(signature)
        if (mine and not waiting) or (not mine and owner.lives(signature)):
            return False
        if waiting:
            self._sign(trial, owner.record)
            try:
                if not self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    return False
            except UpdateFinishedTrialError:
                return False
        self._sign(trial, owner.record)
        if waiting:
            return True
        # Two that find it dead at once sign one after the other, and the second has it; should both go on all the
        # same, the run's own lock lets one train, and the study takes the first that tells how it ended.
        attributes = self.storage.get_trial(trial._trial_id).user_attrs
        self._note(trial, "restarts", int(attributes.get("restarts", 0)) + 1)
        return owner.is_me(attributes.get("owner"))

    def _begin(self, frozen: FrozenTrial) -> Claim:
        import optuna

        sampler = make_sampler(self.request.options, frozen.number)
        study = optuna.load_study(
            study_name=self.study.study_name, storage=self.storage, sampler=sampler, pruner=self.pruner
        )
        study.get_trials(deepcopy=False)  # a database's cache knows a trial once all are read
        trial = optuna.Trial(study, frozen._trial_id)
        values = {key: dimension.suggest(trial) for key, dimension in self.request.dimensions.items()}
        return Claim(trial, values)

    # ---- what becomes of them ----

    def report(self, claim: Claim, step: int, value: float) -> str | None:
        """Records a validation; the reason why the trial is to end there, None where it may go on."""
        # a run that went on from a checkpoint repeats a validation, with the same value
        if step not in self.storage.get_trial(claim.trial._trial_id).intermediate_values:
            claim.trial.report(value, step)
        if not claim.trial.should_prune():
            return None
        name = self.request.options["pruner"]
        return f"Pruned by the {name} rule at step {step}, where val/{self.request.metric} was {value:.6g}."

    def complete(self, claim: Claim, value: float) -> None:
        """The trial is done, with the validation figure of the weights that it kept."""
        from optuna.trial import TrialState

        if math.isfinite(value):
            self._tell(claim, TrialState.COMPLETE, value)
        else:
            self.diverge(claim, f"val/{self.request.metric} was not a number.")

    def diverge(self, claim: Claim, reason: str) -> None:
        """The trial's values led away from the numbers: it is done, and to the sampler as bad as can be.

        A failed trial would tell the sampler nothing, which would then go on trying values of the same kind.
        """
        from optuna.trial import TrialState

        self._note(claim.trial, "reason", reason)
        self._tell(claim, TrialState.COMPLETE, -math.inf if self.request.higher_is_better else math.inf)

    def prune(self, claim: Claim, reason: str) -> None:
        """Validation ended the trial."""
        from optuna.trial import TrialState

        self._note(claim.trial, "reason", reason)
        self._tell(claim, TrialState.PRUNED)

    def fail(self, claim: Claim, reason: str) -> None:
        """The trial could not be trained; another takes its place."""
        from optuna.trial import TrialState

        self._note(claim.trial, "reason", reason)
        self._tell(claim, TrialState.FAIL)

    def died(self, claim: Claim, reason: str) -> None:
        """The trial's process ended without a word: it is trained again, a few times."""
        deaths = [*self.storage.get_trial(claim.trial._trial_id).user_attrs.get("deaths", []), reason]
        self._note(claim.trial, "deaths", deaths)
        if len(deaths) >= MOST_DEATHS:
            self.fail(claim, f"{reason} It was so {len(deaths)} times.")
        else:
            self.release(claim)

    def release(self, claim: Claim) -> None:
        """Leaves the trial to whoever takes it next."""
        self._sign(claim.trial, None)

    def beat(self, owner: Owner) -> None:
        """Tells the commands of other machines that this one lives."""
        self._beat += 1
        self.study.set_user_attr(beat_key(owner.record), self._beat)

    def _tell(self, claim: Claim, state: Any, value: float | None = None) -> None:
        # another command that took it for dead may have told the same already
        claim.trial.study.tell(claim.number, value, state=state, skip_if_finished=True)

    def _sign(self, trial: FrozenTrial | Trial, record: dict[str, str] | None) -> None:
        self._note(trial, "owner", record)

    def _note(self, trial: FrozenTrial | Trial, key: str, value: Any) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            self.storage.set_trial_user_attr(trial._trial_id, key, value)
        except UpdateFinishedTrialError:
            return
