"""A run that is killed, at any moment and as often as may be, ends as if nothing had happened, by the same command.

Three sizes: 5 kills of each command, 15 in `make test-long` (POSEFABRIC_LONG=1), 300 in `make soak` (POSEFABRIC_KILLS).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.damage import flip_a_bit
from faults.killing import Command, Event, after, carry_out
from sizes import LONG
from small_runs import TINY

from posefabric.locks import LOCK_FILES

KILLS = int(os.environ.get("POSEFABRIC_KILLS", "15" if LONG else "5"))

pytestmark = pytest.mark.timeout(120 + 15 * KILLS)

NAMES = ("run", "moved")
"""Where a run lies; it moves between them."""

MOVES, DAMAGES, LONELY = 0.3, 0.3, 0.2
"""How often, between a kill and a resume, a run is moved, has its newest checkpoint damaged, or is killed without the
processes that it started."""


@dataclass(frozen=True)
class Work:
    """A command that is killed: its words, the folder it begins in (a copy), and what it leaves undisturbed, when."""

    words: tuple[str, ...]
    given: Path | None
    left: dict[str, str]
    seconds: float

    def begin(self, folder: Path) -> Path:
        """The folder to work in, as it is before the first call."""
        folder.mkdir()
        if self.given is not None:
            shutil.copytree(self.given, folder / NAMES[0])
        return folder

    def line(self, name: str = NAMES[0], workers: int = 0) -> list[str]:
        """The command line for a run folder of that name."""
        return [name if word == NAMES[0] else word for word in self.words] + _set(f"data.num_workers={workers}")


def _set(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


SETTINGS = (*TINY, "search.epochs=4", "train.epochs=4", "evaluation.flip_test=false")
SEARCH = ("search", "synthetic", "--recipe", "smoke", *_set(*SETTINGS), "--output", NAMES[0])
DERIVE = ("derive", NAMES[0], "--method", "path", *_set("search.tuning_epochs=3"))


def train_line(searched: Path) -> tuple[str, ...]:
    inherited = ("--architecture", str(searched), "--weights", str(searched))
    return ("train", "synthetic", "--recipe", "smoke", *inherited, *_set(*SETTINGS), "--output", NAMES[0])


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
def works(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Work]:
    """A search, a training and a derivation, each from start to end."""
    searched = tmp_path_factory.mktemp("searched")
    carry_out(["--version"], searched)  # the server of processes is made now, and counts in no time below
    found = {"search": _carried_out(SEARCH, None, searched)}
    found["train"] = _carried_out(train_line(searched / NAMES[0]), None, tmp_path_factory.mktemp("trained"))
    derived = tmp_path_factory.mktemp("derived")
    shutil.copytree(searched / NAMES[0], derived / NAMES[0])
    found["derive"] = _carried_out(DERIVE, searched / NAMES[0], derived)
    return found


def _carried_out(words: tuple[str, ...], given: Path | None, folder: Path) -> Work:
    work = Work(words, given, {}, 0)
    began = time.monotonic()
    carry_out(work.line(), folder)
    return Work(words, given, left(folder / NAMES[0]), time.monotonic() - began)


@pytest.mark.long
@pytest.mark.parametrize("name", ["search", "train", "derive"])
def test_kills_at_random_moments_leave_no_trace(name: str, works: dict[str, Work], tmp_path: Path) -> None:
    """Run after run until there have been enough kills; in between, workers come and go, checkpoints are damaged."""
    chance, hits, runs = random.Random(f"{name}{KILLS}"), 0, 0
    while hits < KILLS:
        folder = works[name].begin(tmp_path / str(runs))
        hits, run = _until_it_ends(works[name], folder, hits, chance)
        assert left(run) == works[name].left
        runs += 1
    print(f"\n{name}: {hits} kills, {runs} runs")


def _until_it_ends(work: Work, folder: Path, hits: int, chance: random.Random) -> tuple[int, Path]:
    """The same command again until it has ended well, killed now and then; how many hits there are now, and the run."""
    place = 0
    while True:
        run = folder / NAMES[place]
        command = Command(work.line(run.name, chance.choice((0, 0, 2))), folder)
        moment = _moment(run, 0.7 * work.seconds, chance) if hits < KILLS else lambda: False
        if not command.kill_when(moment, alone=chance.random() < LONELY):
            assert command.returncode == 0, command.err
            return hits, run
        hits += 1
        if chance.random() < DAMAGES:
            _damage_newest(run, chance)
        if chance.random() < MOVES and run.exists():
            place = 1 - place
            run.rename(folder / NAMES[place])


def _moment(run: Path, seconds: float, chance: random.Random) -> Event:
    """Some time from now, or some steps of learning and an instant from now, however slow the machine is."""
    if chance.random() < 0.5:
        return after(chance.uniform(0, seconds))
    wanted, delay, passed = _rows(run) + chance.randrange(1, 6), chance.uniform(0, 0.05), list[Event]()

    def seen() -> bool:
        if not passed and _rows(run) >= wanted:
            passed.append(after(delay))
        return bool(passed) and passed[0]()

    return seen


def _rows(run: Path) -> int:
    """How much has been logged, in a search, a training, or the tuning of a derived net."""
    files = [run / "metrics.jsonl", *run.glob("tuning/*/metrics.jsonl")]
    return sum(file.read_bytes().count(b"\n") for file in files if file.exists())


def _damage_newest(run: Path, chance: random.Random) -> None:
    """Flip a bit of a checkpoint, if there is one."""
    newest = max(run.rglob("step-*"), key=lambda path: int(path.name.removeprefix("step-")), default=None)
    if newest is not None:
        flip_a_bit(chance.choice(sorted(newest.iterdir())), chance)


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


def test_kills_at_the_worst_moments_leave_no_trace(works: dict[str, Work], tmp_path: Path) -> None:
    work, run = works["search"], tmp_path / "work" / NAMES[0]
    folder = work.begin(run.parent)
    for name, event in EVENTS.items():
        assert Command(work.line(), folder).kill_when(event(run)), name
    carry_out(work.line(), folder)
    assert left(run) == work.left


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 143)],
    ids=["TERM", "INT", "USR1"],
)
def test_a_signal_ends_the_run_with_a_checkpoint_of_the_step_at_hand(
    number: int, code: int, works: dict[str, Work], tmp_path: Path
) -> None:
    work, run = works["train"], tmp_path / "work" / NAMES[0]
    command = Command(work.line(), work.begin(run.parent))
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("train") >= 2):
        assert command.poll() is None, command.err
        time.sleep(0.001)
    sent = time.monotonic()
    command.send(number)
    assert command.wait() == code, command.err
    assert time.monotonic() - sent < 10
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    newest = max(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))
    assert newest == max(row["step"] for row in rows)
    carry_out(work.line(), run.parent)
    assert left(run) == work.left


def test_a_second_process_is_told_who_is_at_work(works: dict[str, Work], tmp_path: Path) -> None:
    line = [*works["search"].line(), "--set", "search.epochs=5000"]
    first = Command(line, works["search"].begin(tmp_path / "work"))
    while not (tmp_path / "work" / NAMES[0] / "metrics.jsonl").exists():
        assert first.poll() is None, first.err
        time.sleep(0.01)
    second = Command(line, tmp_path / "work", anew=True)
    assert second.wait() == 74
    assert f"is being written by process {first.pid} on " in second.err
    first.kill()


def test_a_crash_can_be_rehearsed(works: dict[str, Work], tmp_path: Path) -> None:
    folder = works["train"].begin(tmp_path / "work")
    line = [word for word in works["train"].words if word not in ("--output", NAMES[0])]
    command = carry_out([*line, "--rehearse-crash", "--json"], folder)
    assert json.loads(command.out) == {"kills": 2, "steps": 12, "exact": True, "max_abs_diff": 0.0}
    assert not list(folder.iterdir())
