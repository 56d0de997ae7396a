"""A run that is killed, at any moment and as often as may be, ends as if nothing had happened, by the same command.

Three sizes: a few kills here, more with POSEFABRIC_KILLS=15 (`make test-long`) and =300 (`make soak`).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.killing import Event, after, carry_through, kill_when, launch
from small_runs import TINY

from posefabric.locks import LOCK_FILES

KILLS = int(os.environ.get("POSEFABRIC_KILLS", "5"))

SETTINGS = [word for setting in (*TINY, "search.epochs=6", "train.epochs=6") for word in ("--set", setting)]
SEARCH = ["search", "synthetic", "--recipe", "smoke", *SETTINGS, "--output", "run"]


def train_command(searched: Path) -> list[str]:
    inherited = ["--architecture", str(searched), "--weights", str(searched)]
    return ["train", "synthetic", "--recipe", "smoke", *inherited, *SETTINGS, "--output", "run"]


def left(run: Path) -> dict[str, str]:
    """SHA-256 of everything a run leaves that does not tell the time; losses stand in metrics.jsonl to the last bit."""
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file()
        and path.name not in ("run.json", "report.html", *LOCK_FILES)
        and "tensorboard" not in path.parts
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A search and a training from start to end, and how long they took."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("search", "train")}
    carry_through(SEARCH, folders["search"], [])
    carry_through(train_command(folders["search"] / "run"), folders["train"], [])
    return folders


def started(run: Path) -> Event:
    """A run folder exists, and not a step is done."""
    return (run / "run.json").exists


def saving(run: Path) -> Event:
    """A checkpoint is being written."""
    return lambda: any((run / "checkpoints").glob(".step-*.tmp"))


def validating(run: Path) -> Event:
    """A checkpoint that is due before a validation exists, and the validation has not ended."""
    metrics = run / "metrics.jsonl"

    def seen() -> bool:
        rows = metrics.read_text().splitlines() if metrics.exists() else []
        return bool(rows) and '"split": "train"' in rows[-1] and any((run / "checkpoints").glob("step-3"))

    return seen


EVENTS: dict[str, Callable[[Path], Event]] = {"first step": started, "save": saving, "validation": validating}


@pytest.mark.parametrize("command", ["search", "train"])
def test_kills_at_random_moments_leave_no_trace(command: str, undisturbed: dict[str, Path], tmp_path: Path) -> None:
    line = SEARCH if command == "search" else train_command(undisturbed["search"] / "run")
    moments = random.Random(command)
    begins = [lambda: after(moments.uniform(2.0, 8.0)) for _ in range(KILLS)]
    carry_through(line, tmp_path, begins)
    assert left(tmp_path / "run") == left(undisturbed[command] / "run")


@pytest.mark.parametrize("event", EVENTS)
def test_kills_at_the_worst_moments_leave_no_trace(event: str, undisturbed: dict[str, Path], tmp_path: Path) -> None:
    hits = carry_through(SEARCH, tmp_path, [lambda: EVENTS[event](tmp_path / "run")] * 2)
    assert hits >= 1
    assert left(tmp_path / "run") == left(undisturbed["search"] / "run")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 143)],
    ids=["TERM", "INT", "USR1"],
)
def test_a_signal_ends_the_run_with_a_checkpoint_of_the_step_at_hand(
    number: int, code: int, undisturbed: dict[str, Path], tmp_path: Path
) -> None:
    process, run = launch(SEARCH, tmp_path), tmp_path / "run"
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("train") >= 2):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.001)
    sent = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=15)
    assert process.returncode == code, err
    assert time.monotonic() - sent < 10
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    newest = max(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))
    assert newest == max(row["step"] for row in rows)
    carry_through(SEARCH, tmp_path, [])
    assert left(run) == left(undisturbed["search"] / "run")


def test_a_second_process_is_told_who_is_at_work(tmp_path: Path) -> None:
    first = launch([*SEARCH, "--set", "search.epochs=500"], tmp_path)
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.01)
    second = launch([*SEARCH, "--set", "search.epochs=500"], tmp_path)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 74
    assert f"is being written by process {first.pid} on " in err
    kill_when(first, after(0))


def test_a_crash_can_be_rehearsed(undisturbed: dict[str, Path], tmp_path: Path) -> None:
    process = launch([*train_command(undisturbed["search"] / "run")[:-2], "--rehearse-crash", "--json"], tmp_path)
    out, err = process.communicate(timeout=170)
    assert process.returncode == 0, err
    assert json.loads(out) == {"kills": 2, "steps": 12, "exact": True, "max_abs_diff": 0.0}
    assert not list(tmp_path.iterdir())
