"""The queue: what is finished is done once, what was cut off is taken again, what failed is paid for."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from posefabric.errors import UserError
from posefabric.experiments import worker as worker_module
from posefabric.experiments.spec import Spec
from posefabric.experiments.study import UNIT, Study
from posefabric.experiments.units import Unit, units
from posefabric.experiments.worker import Worker

ARMS = {"A": {"kind": "searched"}, "C": {"kind": "permuted"}, "E": {"kind": "uniform"}}


def small_spec(**changes: Any) -> Spec:
    """Three arms of one seed: four pieces of work."""
    return Spec.model_validate(
        {
            "recipe": "smoke",
            "data": "synthetic",
            "budget": "60%",
            "seeds": [0],
            "arms": ARMS,
            "heartbeat_s": 1,
            "grace_s": 1,
            **changes,
        }
    )


class Bench:
    """Does no work: notes what was asked of it and gives what it is told."""

    def __init__(self, outcomes: dict[str, Any] | None = None) -> None:
        self.nets = None
        self.asked: list[str] = []
        self.outcomes = outcomes or {}

    def do(self, unit: Unit) -> dict[str, Any]:
        self.asked.append(unit.name)
        outcome = self.outcomes.get(unit.name, 50.0)
        if isinstance(outcome, BaseException):
            raise outcome
        return {"score": outcome, "metric": "PCK@0.2", "macs": 1, "parameters": 1, "folder": unit.name}


def worker_with(bench: Bench, spec: Spec, output: Path) -> Worker:
    worker = Worker(spec, Study(spec, output))
    worker.bench = bench  # type: ignore[assignment]
    return worker


def test_everything_is_done_once_and_in_order(tmp_path: Path) -> None:
    bench = Bench()
    for _ in range(2):
        progress = worker_with(bench, small_spec(), tmp_path).work()
    assert bench.asked == [unit.name for unit in sorted(units(small_spec()), key=lambda u: bench.asked.index(u.name))]
    assert sorted(bench.asked) == sorted(unit.name for unit in units(small_spec()))
    assert bench.asked.index("C/seed0/train0") > bench.asked.index("A/seed0/search")
    assert set(progress.done) == set(units(small_spec()))


def test_a_piece_that_fails_is_recorded_paid_for_and_not_repeated(tmp_path: Path) -> None:
    bench = Bench({"A/seed0/search": UserError("diverged", "the loss is nan"), "E/seed0/train0": RuntimeError("oh")})
    for _ in range(2):
        progress = worker_with(bench, small_spec(), tmp_path).work()
    assert sorted(bench.asked) == ["A/seed0/search", "E/seed0/train0"]
    failed = {unit.name: error for unit, error in progress.failed.items()}
    assert "the loss is nan" in failed["A/seed0/search"]
    assert "RuntimeError: oh" in failed["E/seed0/train0"]
    assert progress.failed_seconds > 0
    assert progress.failed_seconds == pytest.approx(sum(progress.seconds.values()))


def test_what_failed_can_be_tried_again(tmp_path: Path) -> None:
    worker_with(Bench({"E/seed0/train0": OSError("disk full")}), small_spec(), tmp_path).work()
    bench = Bench()
    worker = worker_with(bench, small_spec(), tmp_path)
    worker.study.retry_failed()
    progress = worker.work()
    assert bench.asked == ["E/seed0/train0"]
    assert not progress.failed
    assert progress.failed_seconds > 0


def test_the_trial_of_a_silent_worker_is_taken_again(tmp_path: Path) -> None:
    spec = small_spec(arms={"E": {"kind": "uniform"}})
    dead = Study(spec, tmp_path)
    dead.enqueue()
    trial = dead.optuna.ask()
    dead.storage.record_heartbeat(trial._trial_id)
    folder = tmp_path / "trials" / "E" / "seed0" / "train0"
    folder.mkdir(parents=True)
    time.sleep(0.5)
    (folder / "metrics.jsonl").write_text("{}\n")
    bench = Bench()
    progress = worker_with(bench, spec, tmp_path).work()  # waits until the silence is long enough
    assert bench.asked == ["E/seed0/train0"]
    assert set(progress.done) == set(units(spec))
    assert 0.4 < progress.failed_seconds < 1.0  # what the dead one had spent
    states = [trial.state for trial in dead.optuna.get_trials(deepcopy=False)]
    assert states == [optuna.trial.TrialState.FAIL, optuna.trial.TrialState.COMPLETE]


def test_a_worker_that_died_before_its_first_sign_of_life_is_noticed(tmp_path: Path) -> None:
    spec = small_spec(arms={"E": {"kind": "uniform"}})
    dead = Study(spec, tmp_path)
    dead.enqueue()
    dead.optuna.ask()
    bench = Bench()
    assert set(worker_with(bench, spec, tmp_path).work().done) == set(units(spec))
    assert bench.asked == ["E/seed0/train0"]


def test_who_dies_too_often_has_failed(tmp_path: Path) -> None:
    spec = small_spec(arms={"E": {"kind": "uniform"}}, retries=1)
    for _ in range(2):
        dead = Study(spec, tmp_path)
        dead.enqueue()
        dead.storage.record_heartbeat(dead.optuna.ask()._trial_id)
        time.sleep(2.1)
        dead.take_back()
    bench = Bench()
    progress = worker_with(bench, spec, tmp_path).work()
    assert not bench.asked
    assert ["silent" in error for error in progress.failed.values()] == [True]


def test_an_interrupted_worker_gives_its_trial_back(tmp_path: Path) -> None:
    spec = small_spec(arms={"E": {"kind": "uniform"}})
    with pytest.raises(KeyboardInterrupt):
        worker_with(Bench({"E/seed0/train0": KeyboardInterrupt()}), spec, tmp_path).work()
    progress = Study(spec, tmp_path).progress()
    assert [unit.name for unit in progress.waiting] == ["E/seed0/train0"]
    assert not progress.failed
    assert set(worker_with(Bench(), spec, tmp_path).work().done) == set(units(spec))


def test_what_two_workers_queued_at_once_is_done_once(tmp_path: Path) -> None:
    spec = small_spec()
    first, second = worker_with(Bench(), spec, tmp_path), worker_with(Bench(), spec, tmp_path)
    first.study.enqueue()
    doubles = [trial.user_attrs[UNIT] for trial in first.study.optuna.get_trials()]
    for name in doubles:
        waiting = optuna.trial.TrialState.WAITING
        second.study.optuna.add_trial(optuna.create_trial(state=waiting, user_attrs={UNIT: name}))
    second.work()
    first.work()
    asked = first.bench.asked + second.bench.asked  # type: ignore[attr-defined]
    assert sorted(asked) == sorted(unit.name for unit in units(spec))


def test_who_was_taken_over_goes_on_with_something_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = small_spec(arms={"E": {"kind": "uniform"}})
    slow = worker_with(Bench(), spec, tmp_path)

    class Slept(Bench):
        def do(self, unit: Unit) -> dict[str, Any]:
            if not self.asked:  # all others believe that it is dead
                (running,) = slow.study.optuna.get_trials(states=(optuna.trial.TrialState.RUNNING,))
                slow.study.storage.set_trial_state_values(running._trial_id, optuna.trial.TrialState.FAIL)
                slow.study._requeue(slow.study.optuna, running)
            return super().do(unit)

    slow.bench = Slept()  # type: ignore[assignment]
    assert set(slow.work().done) == set(units(spec))
    assert "taken over" in caplog.text


CLAIM = """
import sys, time
from pathlib import Path
from posefabric.experiments.spec import Spec
from posefabric.experiments.study import Study
folder = Path(sys.argv[1])
study = Study(Spec.model_validate_json(sys.argv[3]), folder)
study.enqueue()
(folder / f"ready{sys.argv[2]}").touch()
while len(list(folder.glob("ready*"))) < 2:
    time.sleep(0.001)  # both begin together
while (number := study.optuna._pop_waiting_trial_id()) is not None:
    print(number)
"""


def test_two_processes_never_take_the_same_trial(tmp_path: Path) -> None:
    spec = small_spec(seeds=list(range(12)), arms={"E": {"kind": "uniform"}}).model_dump_json()
    claiming = [
        subprocess.Popen([sys.executable, "-c", CLAIM, tmp_path, str(i), spec], stdout=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    taken = [process.communicate(timeout=120)[0].split() for process in claiming]
    assert [process.returncode for process in claiming] == [0, 0]
    assert not set(taken[0]) & set(taken[1])
    assert len(taken[0]) + len(taken[1]) >= 12


def test_what_was_compared_under_must_stay(tmp_path: Path) -> None:
    Study(small_spec(), tmp_path)
    with pytest.raises(UserError, match="another set, budget"):
        Study(small_spec(budget="70%", set=["train.epochs=2"]), tmp_path)
    with pytest.raises(UserError, match=r"another arms\.C"):
        Study(small_spec(arms=ARMS | {"C": {"kind": "permuted", "parts": "5"}}), tmp_path)
    more = Study(small_spec(arms=ARMS | {"F": {"kind": "whole_body"}}, seeds=[0, 1]), tmp_path)
    assert more.optuna.user_attrs["spec"]["seeds"] == [0, 1]


def test_a_database_that_is_none_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Study(small_spec(storage="postgresql+nothing://me:secret@localhost/poses"), tmp_path)
    assert "secret" not in str(caught.value)
    assert caught.value.code == "not-writable"


def test_a_worker_is_told_at_once_what_cannot_be_built(tmp_path: Path) -> None:
    spec = small_spec(arms={"A": {"kind": "searched", "strategy": "synk"}})
    with pytest.raises(UserError, match="did you mean 'sync'"):
        worker_module.Worker(spec, Study(spec, tmp_path)).work()
