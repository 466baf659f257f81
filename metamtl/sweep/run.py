"""A sweep from its request to its report: trials until as many as asked have finished, then the winners again.

outputs/<sweep-id>/
    sweep.yaml       what was asked for
    sweep.json       every trial and what came of it, importances, the winners' test figures
    study.db         Optuna's study, unless sweep.storage names another place
    <number>/        the run of a trial, tested on validation classes
    <number>-s<seed>/   a winner run again with a new seed, tested on test classes
    plots/  output/  figures; what the processes printed
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.folder import new_sweep
from metamtl.runs.identity import safe_label
from metamtl.runs.lock import held, hold
from metamtl.sweep import report
from metamtl.sweep.cluster import require_submitit, submit
from metamtl.sweep.job import Job, Outcome, Validation
from metamtl.sweep.owners import BEAT_SECONDS, Owner, signed
from metamtl.sweep.pool import Pool, Running, probed
from metamtl.sweep.probe import decide
from metamtl.sweep.request import FILE, Request, changed, read_request
from metamtl.sweep.stopping import Stop, stoppable
from metamtl.sweep.storage import open_storage
from metamtl.sweep.study import Claim, Ledger, join_study

LISTEN_SECONDS = 1.0
JOURNAL = "study.journal"
# Trials are tested on the classes that they are chosen by, and on the same episodes: test classes are not looked at.
TRIAL = ("eval.split=val", "eval.episodes=${eval.val_episodes}", "eval.gap_episodes=0")


def new(words: Sequence[str], config_dir: Path | None) -> Path:
    """Begins a sweep, or joins the one that has its name already; returns its folder."""
    request, config = read_request(words, config_dir)
    if request.options["jobs"]:
        require_submitit()
    metric, higher = decide(request.options, *probed(config, request.config_dir))
    request = dataclasses.replace(request, metric=metric, higher_is_better=higher)
    folder = _folder(request, config).absolute()
    if request.options["jobs"] and request.options["storage"] is None:
        # several machines on one file system, where SQLite is not safe
        request = dataclasses.replace(request, options={**request.options, "storage": str(folder / JOURNAL)})
    if (folder / FILE).exists():
        _refuse_another(Request.load(folder), request, folder)
    else:
        request.save(folder)
    return _begin(request, folder)


def go_on(folder: Path, words: Sequence[str]) -> Path:
    """Goes on with the sweep in `folder`; `words` may change how long and where."""
    request = changed(Request.load(folder), words)
    options = request.options
    if options["jobs"] and options["storage"] is None and options["cluster"] != "local":
        raise UsageError(
            f"sweep.jobs: the study is in {folder / 'study.db'}, which several machines cannot share; "
            "begin a sweep with sweep.jobs, or with sweep.storage."
        )
    request.save(folder)
    return _begin(request, folder)


def take_part(folder: Path) -> None:
    """What a job of a cluster does: trains here what remains of the sweep in `folder`."""
    request = Request.load(folder)
    with _joined(request, folder) as ledger:
        _carry_out(request, folder, ledger)


def _begin(request: Request, folder: Path) -> Path:
    folder = folder.absolute()
    with _joined(request, folder) as ledger:
        print(f"sweep {folder}", flush=True)
        if request.options["jobs"]:
            names = [str(job.job_id) for job in submit(folder, request.options)]
            print(f"submitted as {', '.join(names)}; to join in from here: metamtl sweep --continue {folder}")
        else:
            _carry_out(request, folder, ledger)
    return folder


def _folder(request: Request, config: dict[str, Any]) -> Path:
    outputs = Path(config["paths"]["outputs"]).expanduser()
    name: str | None = request.options["name"]
    if name is None:
        parts = (config[group].get("name") for group in ("algo", "data"))
        return new_sweep(outputs, config["label"] or "-".join(["sweep", *filter(None, parts)]))
    if safe_label(name) != name:
        raise UsageError(f"sweep.name={name} cannot name a folder: write {safe_label(name)}.")
    (outputs / name).mkdir(parents=True, exist_ok=True)
    return outputs / name


def _refuse_another(there: Request, request: Request, folder: Path) -> None:
    before, now = there.essence(), request.essence()
    if differs := [key for key in before if before[key] != now[key]]:
        raise UsageError(f"{folder} holds a sweep with another {', '.join(differs)}: choose another sweep.name.")


@contextmanager
def _joined(request: Request, folder: Path) -> Iterator[Ledger]:
    """While inside, the study of the sweep is open, and paths start from where the sweep was asked for."""
    with suppress(OSError):  # on another machine, where all paths are given whole
        os.chdir(request.directory)
    storage = open_storage(request.options["storage"], folder)
    study = join_study(request, storage, folder.name)
    yield Ledger(study, storage, request)
    storage.remove_session()


def _carry_out(request: Request, folder: Path, ledger: Ledger) -> None:
    with stoppable() as stop, signed(folder, lambda: ledger.study.user_attrs) as owner:
        sweep = Sweep(request, folder, ledger, owner, stop)
        sweep.train_trials()
        sweep.rerun_winners()


@dataclass
class Sweep:
    """One command's part of a sweep."""

    request: Request
    folder: Path
    ledger: Ledger
    owner: Owner
    stop: Stop
    next_beat: float = 0.0

    def train_trials(self) -> None:
        """Returns when all trials have ended, here or elsewhere; raises Interrupted or MetamtlError."""
        pool: Pool[Claim] = Pool(self._slots())
        while self._goes_on(pool):
            for slot in pool.free():
                if self.stop.signal is not None or self._gives_up():
                    break
                claim = self.ledger.claim(self.owner)
                if claim is None:
                    break
                pool.start(self._trial(claim, pool.devices[slot]), claim, slot)
            self._listen(pool, self._heard)
        if self._gives_up() and not self.ledger.finished():
            failed = self.ledger.failures()
            raise MetamtlError(
                f"{len(failed)} trials failed, more than sweep.failures={self.request.options['failures']}; "
                f"the last: {failed[-1].user_attrs.get('reason')} Go on with: {self._command()} sweep.failures=N"
            )

    def rerun_winners(self) -> None:
        """Runs the best trials again with new seeds and tests them; the first command to come here does it."""
        content = report.write(self.request, self.folder, self.ledger)
        if not content["winners"]:
            raise MetamtlError(
                f"No trial was completed ({report.counts(content)}), so none is the best: narrow the space of "
                f"{', '.join(self.request.space)} in a new sweep, or go on with: {self._command()} sweep.trials=N"
            )
        if not self.request.options["seeds"]:
            print("No run was tested: sweep.seeds=N runs the winners again and tests them.")
        if held(self.folder):
            print("Another command runs the winners again.", flush=True)
            return
        with hold(self.folder):
            failed = self._rerun()
            report.finish(self.request, self.folder, self.ledger)
        if failed:
            raise MetamtlError(f"Of the winners' runs, {', '.join(failed)} failed. Go on with: {self._command()}")

    def _rerun(self) -> list[str]:
        """Returns the names of the runs that did not complete."""
        jobs, failed = self._winners(), []

        def heard(running: Running[Job], message: Validation | Outcome) -> None:
            if isinstance(message, Validation):
                running.answer(None)
            elif message.status != "interrupted":
                name = running.purpose.folder.name
                failed.extend([name] if message.status != "completed" else [])
                print(f"run {name}: {message.status}. {message.reason}".rstrip(), flush=True)

        pool: Pool[Job] = Pool(self._slots())
        while jobs or pool.running:
            for slot in pool.free()[: len(jobs) if self.stop.signal is None else 0]:
                job = jobs.pop(0)
                pool.start(dataclasses.replace(job, device=pool.devices[slot]), job, slot)
            self._refuse_to_go_on(pool)
            self._listen(pool, heard)
        return failed

    def _winners(self) -> list[Job]:
        seeds = range(self.request.seed + 1, self.request.seed + 1 + self.request.options["seeds"])
        return [
            self._job(f"{trial.number}-s{seed}", [*report.values_of(self.request, trial), f"seed={seed}"])
            for trial in report.best(self.request, self.ledger)
            for seed in seeds
        ]

    def _trial(self, claim: Claim, device: str | None) -> Job:
        values = [f"{key}={value}" for key, value in claim.values.items()]
        return dataclasses.replace(self._job(str(claim.number), [*values, *TRIAL]), device=device)

    def _job(self, name: str, more: list[str]) -> Job:
        request = self.request
        given = [*request.overrides, *more]
        threads = [] if any(text.startswith("trainer.threads=") for text in given) else ["trainer.threads=1"]
        return Job(self.folder / name, [*threads, *given], request.directory, request.config_dir, None, request.metric)

    def _slots(self) -> list[str | None]:
        options = self.request.options
        devices: list[str | None] = [*(options["devices"] or [None])]
        return [devices[slot % len(devices)] for slot in range(options["workers"])]

    def _goes_on(self, pool: Pool[Claim]) -> bool:
        self._refuse_to_go_on(pool)
        return bool(pool.running) or not (self._gives_up() or self.ledger.finished())

    def _refuse_to_go_on(self, pool: Pool[Any]) -> None:
        """Raises Interrupted after a signal, once every process has saved and ended."""
        if self.stop.signal is not None and not pool.running:
            raise self.stop.interruption(f"Go on with: {self._command()}")

    def _gives_up(self) -> bool:
        return len(self.ledger.failures()) > int(self.request.options["failures"])

    def _command(self) -> str:
        return f"metamtl sweep --continue {shlex.quote(str(self.folder))}"

    # ---- listening ----

    def _listen(self, pool: Pool[Any], heard: Callable[[Running[Any], Validation | Outcome], None]) -> None:
        """Waits a while for messages; hands on a signal, and tells other machines that this command lives."""
        try:
            if self.stop.signal is not None:
                pool.stop()
            if not pool.running:  # others train what remains
                time.sleep(LISTEN_SECONDS)
            for running, message in pool.messages(LISTEN_SECONDS):
                heard(running, message)
            if time.monotonic() > self.next_beat:
                self.next_beat = time.monotonic() + BEAT_SECONDS
                self.ledger.beat(self.owner)
        except KeyboardInterrupt:
            pool.kill()
            raise

    def _heard(self, running: Running[Claim], message: Validation | Outcome) -> None:
        claim = running.purpose
        if isinstance(message, Validation):
            running.answer(self.ledger.report(claim, message.step, message.value))
            return
        if message.status == "completed" and message.value is not None:
            self.ledger.complete(claim, message.value)
        elif message.status == "pruned":
            self.ledger.prune(claim, message.reason)
        elif message.status == "diverged":
            self.ledger.diverge(claim, message.reason)
        elif message.status == "failed":
            self.ledger.fail(claim, message.reason)
        elif message.status == "died" and self.stop.signal is None:
            self.ledger.died(claim, message.reason)
        else:
            self.ledger.release(claim)
        print(report.line(self.request, self.ledger, claim.number), flush=True)
        report.write(self.request, self.folder, self.ledger)
