"""Processes that are killed with everything they started, at a time or at an event, and begun again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

Event = Callable[[], bool]

PATIENCE_S = 180.0
"""How long any one process may take."""


def launch(arguments: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """The command line in a process group of its own, started in a folder; it sees the package that is tested."""
    import posefabric

    package = str(Path(posefabric.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-m", "posefabric", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def kill_when(process: subprocess.Popen[str], event: Event) -> bool:
    """SIGKILL the whole group as soon as an event is seen; whether it was before the process ended by itself."""
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        if event():
            kill(process)
            return True
        time.sleep(0.001)
    assert process.poll() is not None, "neither the event nor the end came in time"
    return False


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL a process and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def after(seconds: float) -> Event:
    """The event that so much time has passed since this call."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def carry_through(arguments: Sequence[str], folder: Path, events: Iterable[Callable[[], Event]]) -> int:
    """Begin a command again and again, killed at each event in turn, until it has ended well; how many kills hit.

    An event is made when its process starts. Nothing is done by hand in between.
    """
    hits = 0
    for make in events:
        process = launch(arguments, folder)
        hits += kill_when(process, make())
    process = launch(arguments, folder)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return hits
