"""The queue of an experiment: an Optuna study in which every piece of work is a trial.

SQLite by default; any SQL database for workers on many machines. A worker says every while that it lives; the trial of
a silent one is queued again, and its run folder resumes. Nothing that is finished is done twice.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from posefabric.errors import UserError
from posefabric.experiments.spec import Spec
from posefabric.experiments.units import Unit, ready, units
from posefabric.runs import make_folder

UNIT, FACTS, ERROR, SECONDS, LOST, SPEC = "unit", "facts", "error", "seconds", "lost_seconds", "spec"
"""Keys of what a trial, and the study, are described by."""

FIXED = ("recipe", "set", "data", "images", "category", "budget", "metric", "split")
"""What of a specification may not change while its study goes on."""

SQLITE_TIMEOUT_S, ATTEMPTS = 60, 10


@dataclass
class Progress:
    """How an experiment stands: what is done with its facts, what failed with its error, what runs and what waits.

    `seconds` counts all attempts of a piece, those that failed and those that were cut off too.
    """

    done: dict[Unit, dict[str, Any]] = field(default_factory=dict)
    failed: dict[Unit, str] = field(default_factory=dict)
    running: set[Unit] = field(default_factory=set)
    waiting: set[Unit] = field(default_factory=set)
    seconds: dict[Unit, float] = field(default_factory=dict)
    failed_seconds: float = 0.0


class Study:
    """An experiment's study, made where there is none. Another experiment under its name is refused with the cause."""

    def __init__(self, spec: Spec, output: Path) -> None:
        self.spec, self.output = spec, output
        make_folder(output)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._units = {unit.name: unit for unit in units(spec)}
        self._requeue = Requeue(output, spec.retries)
        self.current = -1  # number of the trial that this worker is at
        with _quiet():
            self.storage = open_storage(spec, output, self._requeue)
            self.optuna = optuna.create_study(
                study_name=spec.name, storage=self.storage, direction="maximize", load_if_exists=True
            )
        self._check_spec()

    def _check_spec(self) -> None:
        """Arms, seeds and contrasts may be added; what was compared under must stay."""
        wanted, before = self.spec.data_form(), self.optuna.user_attrs.get(SPEC)
        if before is not None:
            differing = [key for key in FIXED if before.get(key) != wanted[key]]
            differing += [f"arms.{n}" for n, arm in before["arms"].items() if wanted["arms"].get(n, arm) != arm]
            if differing:
                found = f"the study '{self.spec.name}' was begun with another {', '.join(differing)}"
                raise UserError("run-differs", found, "arms and seeds may be added", "Give another --output or name.")
        if before != wanted:
            self.optuna.set_user_attr(SPEC, wanted)

    def enqueue(self) -> None:
        """Queue what may begin and is not yet in the study."""
        progress = self.progress()
        known = {*progress.running, *progress.waiting}
        for unit in ready(self.spec, progress.done, progress.failed):
            if unit not in known:
                self.optuna.add_trial(optuna.create_trial(state=TrialState.WAITING, user_attrs={UNIT: unit.name}))

    def retry_failed(self) -> None:
        """Queue once more what failed by itself."""
        for unit in self.progress().failed:
            self.optuna.add_trial(optuna.create_trial(state=TrialState.WAITING, user_attrs={UNIT: unit.name}))

    def unit_of(self, trial: FrozenTrial | optuna.Trial) -> Unit | None:
        """The piece a trial stands for; None for a trial of nothing, and for one whose arm or seed was taken out."""
        return self._units.get(trial.user_attrs.get(UNIT, ""))

    def is_double(self, trial: optuna.Trial) -> bool:
        """Whether another trial does, or has done, the same: two workers may have queued it at once."""
        others = [
            other
            for other in self.optuna.get_trials(deepcopy=False)
            if other.number != trial.number and other.user_attrs.get(UNIT) == trial.user_attrs[UNIT]
        ]
        open_states = (TrialState.RUNNING, TrialState.WAITING)
        return any(
            other.state == TrialState.COMPLETE or (other.state in open_states and other.number < trial.number)
            for other in others
        )

    def progress(self) -> Progress:
        """How it stands now."""
        found = Progress()
        for trial in self.optuna.get_trials(deepcopy=False):
            unit = self.unit_of(trial)
            if unit is not None and trial.state != TrialState.PRUNED:
                _count(found, unit, trial)
        for unit in found.done:
            found.failed.pop(unit, None)
        for unit in {*found.running, *found.waiting}:
            found.failed.pop(unit, None)
        return found

    def give_back(self) -> None:
        """Queue the trial that this worker was at again: it was interrupted and did not fail."""
        for trial in self.optuna.get_trials(states=(TrialState.FAIL,)):
            if trial.number == self.current and ERROR not in trial.user_attrs:
                self._requeue(self.optuna, trial)

    def is_mine(self) -> bool:
        """Whether nobody has taken this worker's trial over."""
        running = self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(trial.number == self.current for trial in running)

    def sign_for(self, running: Collection[Unit]) -> None:
        """A sign of life for the trials of these pieces, from which on their silence counts."""
        for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self.unit_of(trial) in running:
                self.storage.record_heartbeat(trial._trial_id)

    def take_back(self) -> None:
        """Queue again the trials of workers that have fallen silent."""
        with _quiet():
            optuna.storages.fail_stale_trials(self.optuna)


class Requeue:
    """What becomes of a trial whose worker fell silent or was interrupted: the same again, with the time it lost."""

    def __init__(self, output: Path, retries: int) -> None:
        self._output = output
        with _quiet():
            self._again = RetryHeartbeatStaleTrialCallback(max_retry=retries)

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        lost = trial.user_attrs.get(LOST, 0.0) + self._seconds(trial)
        trial.user_attrs = {**trial.user_attrs, LOST: lost}
        self._again(study, trial)

    def _seconds(self, trial: FrozenTrial) -> float:
        """From its start to the last file it wrote; its end was noticed later."""
        folder = self._output / "trials" / str(trial.user_attrs.get(UNIT, ""))
        if trial.datetime_start is None or not folder.is_dir():
            return 0.0
        began = trial.datetime_start.timestamp()
        last = max((file.stat().st_mtime for file in folder.rglob("*") if file.is_file()), default=began)
        return max(0.0, last - began)


def open_storage(spec: Spec, output: Path, requeue: Requeue) -> RDBStorage:
    """The study's database. One that cannot be reached raises `UserError("not-writable")`."""
    url = spec.storage or f"sqlite:///{output.resolve()}/study.db"
    sqlite = url.startswith("sqlite")
    for attempt in range(ATTEMPTS):
        try:
            storage = RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": SQLITE_TIMEOUT_S}} if sqlite else {},
                heartbeat_interval=spec.heartbeat_s,
                grace_period=spec.grace_s,
                heartbeat_stale_trial_callback=requeue,
            )
            break
        except (ImportError, ValueError, OptunaError, SQLAlchemyError) as error:
            if attempt + 1 == ATTEMPTS or isinstance(error, ImportError):
                where = re.sub(r"://[^/@]*@", "://...@", url)
                raise UserError(
                    "not-writable", f"the study's database {where}: {error}", "a URL of SQLAlchemy"
                ) from error
            time.sleep(0.2)  # another worker may be making the tables
    if sqlite:
        _take_turns(storage)
    return storage


def _take_turns(storage: RDBStorage) -> None:
    """Let transactions of SQLite exclude each other from their first statement on, reads too.

    Else two workers may both read that a trial waits and both take it. Other databases lock the row.
    """

    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # sqlite3 itself begins no transaction

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sqlalchemy.event.listen(storage.engine, "connect", connected)
    sqlalchemy.event.listen(storage.engine, "begin", begun)
    storage.engine.dispose()


@contextmanager
def _quiet() -> Iterator[None]:
    """Heartbeats are an experimental part of Optuna; we know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _count(progress: Progress, unit: Unit, trial: FrozenTrial) -> None:
    """Add a trial to how its piece stands; trials come in the order in which they were queued."""
    said = trial.user_attrs
    cut_off = trial.state == TrialState.FAIL and ERROR not in said
    if not cut_off:  # the time of one that was cut off is on the account of the trial that went on with it
        spent = said.get(SECONDS, 0.0) + said.get(LOST, 0.0)
        progress.seconds[unit] = progress.seconds.get(unit, 0.0) + spent
        progress.failed_seconds += spent if trial.state == TrialState.FAIL else said.get(LOST, 0.0)
    if trial.state == TrialState.COMPLETE:
        progress.done[unit] = said[FACTS]
    elif trial.state == TrialState.RUNNING:
        progress.running.add(unit)
    elif trial.state == TrialState.WAITING:
        progress.waiting.add(unit)
    else:
        progress.failed[unit] = said.get(ERROR, "its workers fell silent too often")
