"""The loop: what a run folder holds, and that interrupting and resuming a run leaves no trace in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_runs
from small_runs import small_config, small_people, small_supernet

from posefabric.config import Config
from posefabric.engine import discretisation as discretisation_module
from posefabric.engine import train as train_module
from posefabric.engine.loop import Plan
from posefabric.engine.train import build_net, train
from posefabric.errors import UserError
from posefabric.locks import LOCK_FILES
from posefabric.optimization import WeightLearner
from posefabric.runs import Run
from posefabric.settings import Optimization

STATEFUL = ("clip_norm=0.1", "ema_decay=0.8", "epochs=3", "weight_decay=0.01")
BILEVEL = ("first-order", "second-order", "gumbel", "gumbel-hard")
ARMS = ("sync", *BILEVEL, "train")
INTERVAL = {"sync": 3, "train": 3} | dict.fromkeys(BILEVEL, 1)
"""Checkpoints follow every so many steps: 12 persons in batches of 4, of which bilevel strategies hold out half."""


class Crash(Exception):  # noqa: N818  what happens to a run, not an error of ours
    """The machine goes down."""


def arm_config(arm: str, *more: str) -> Config:
    sections = [f"{section}.{setting}" for section in ("search", "train") for setting in STATEFUL]
    terms = ["search.entropy=0.1", "search.beta_decay=0.1", "search.warmup_architecture=0.3"]
    strategy = [] if arm == "train" else [f"search.strategy={arm}", *terms * (arm in BILEVEL[1:])]
    return small_config(*sections, *strategy, *more)


def carry_out(arm: str, folder: Path, *more: str) -> Path:
    """Start a run, or resume it."""
    config = arm_config(arm, *more)
    command = "train" if arm == "train" else "search"
    run = Run.start(folder, command, config.data_form(), {})
    small_runs.carry_out(command, run, config, (small_people(), small_people(6, seed=1)))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """What a run leaves that must not depend on how often it was interrupted."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        # these tell the time
        if path.is_file()
        and path.name not in ("run.json", "report.html", *LOCK_FILES)
        and "tensorboard" not in path.parts
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    return {arm: contents(carry_out(arm, tmp_path_factory.mktemp("run") / arm)) for arm in ARMS}


def crash_at(monkeypatch: pytest.MonkeyPatch, crash: int) -> None:
    """Crash in the learning step with that number, after everything before it."""
    honest = WeightLearner.step

    def failing(learner: WeightLearner, batch: Any, step: int) -> dict[str, float]:
        if step == crash:
            raise Crash
        return honest(learner, batch, step)

    monkeypatch.setattr(WeightLearner, "step", failing)


def crash_in(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, call: int) -> None:
    """Crash in a call of a function of a module, the first being number 1."""
    honest: Callable[..., Any] = getattr(module, name)
    calls = iter(range(1, 1000))

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise Crash
        return honest(*arguments, **options)

    monkeypatch.setattr(module, name, failing)


@pytest.mark.parametrize(
    ("arm", "workers"),
    [
        ("sync", 0),
        ("first-order", 2),
        ("second-order", 0),
        ("gumbel", 0),
        ("gumbel-hard", 0),
        ("train", 0),
        ("train", 2),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    arm: str, workers: int, tmp_path: Path, uninterrupted: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crash in the middle of an epoch; with workers that read ahead, as without; weights and rows bit for bit."""
    crash = INTERVAL[arm] + 1
    with monkeypatch.context() as patched:
        crash_at(patched, crash)
        with pytest.raises(Crash):
            carry_out(arm, tmp_path / arm, f"data.num_workers={workers}")
    left = Run(tmp_path / arm)
    assert [row["step"] for row in left.rows() if row["split"] == "train"] == list(range(1, crash + 1))
    assert (left.path / "checkpoints").is_dir()
    carry_out(arm, tmp_path / arm, f"data.num_workers={workers}")
    assert contents(tmp_path / arm) == uninterrupted[arm]
    assert Run(tmp_path / arm).finished


@pytest.mark.parametrize("place", ["before the first checkpoint", "in validation", "after the last step"])
def test_wherever_a_run_is_interrupted(
    place: str, tmp_path: Path, uninterrupted: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
        "before the first checkpoint": lambda patched: crash_at(patched, 1),
        "in validation": lambda patched: crash_in(patched, train_module, "evaluate", 2),
        "after the last step": lambda patched: crash_in(patched, train_module, "save_tensors", 1),
    }
    with monkeypatch.context() as patched:
        crashes[place](patched)
        with pytest.raises(Crash):
            carry_out("train", tmp_path / "run")
    carry_out("train", tmp_path / "run")
    assert contents(tmp_path / "run") == uninterrupted["train"]


def test_a_damaged_checkpoint_costs_time_and_nothing_else(
    tmp_path: Path, uninterrupted: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        crash_at(patched, 7)
        with pytest.raises(Crash):
            carry_out("train", tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "step-6" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "sp')
    carry_out("train", tmp_path / "run")
    assert contents(tmp_path / "run") == uninterrupted["train"]


def test_a_search_that_stops_while_choosing_ends_as_if_it_had_not(
    tmp_path: Path, uninterrupted: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        crash_in(patched, discretisation_module, "derive", 1)
        with pytest.raises(Crash):
            carry_out("sync", tmp_path / "run")
    carry_out("sync", tmp_path / "run")
    assert contents(tmp_path / "run") == uninterrupted["sync"]


def test_equal_runs_are_equal_files_without_times_or_paths(
    tmp_path: Path, uninterrupted: dict[str, dict[str, bytes]]
) -> None:
    folder = carry_out("train", tmp_path / "elsewhere" / "named otherwise")
    assert contents(folder) == uninterrupted["train"]
    for name in ("weights.safetensors", "architecture.json"):
        assert b"elsewhere" not in contents(folder)[name]


def test_plans_count_whole_batches() -> None:
    assert Plan.of(Optimization(epochs=3, batch_size=4, validate_every=2), 11) == Plan(num_steps=6, interval=4)
    with pytest.raises(UserError, match=r"batch size 12; allowed: at most 11.*train\.batch_size=N") as caught:
        Plan.of(Optimization(batch_size=12), 11)
    assert caught.value.code == "bad-value"


def test_validation_follows_every_interval_and_the_last_step(tmp_path: Path) -> None:
    config = small_config("train.epochs=3", "train.validate_every=2")
    run = Run.start(tmp_path / "run", "train", config.data_form(), {})
    train(run, config, build_net(small_supernet(config), config), (small_people(), small_people(6, seed=1)))
    assert [(row["step"], row["split"]) for row in run.rows() if row["split"] == "val"] == [(6, "val"), (9, "val")]
    assert [row["step"] for row in run.rows() if row["split"] == "train"] == list(range(1, 10))
