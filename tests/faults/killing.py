"""Commands in processes of their own, killed with everything they started, at a time or at an event, and begun again.

A process is forked from a server that has imported torch once, so that a start costs a fraction of a second; `anew`
starts a true `python -m posefabric` instead.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import posefabric

Event = Callable[[], bool]

PATIENCE_S = 180.0
"""How long any one process may take."""

PRELOADED = (
    "faults.killing",
    "posefabric.cli",
    "posefabric.engine.deriving",
    "posefabric.engine.search",
    "posefabric.engine.train",
    "torch.utils.tensorboard",
)


class Command:
    """A command line at work in a folder, in a process group of its own."""

    def __init__(self, arguments: Sequence[str], folder: Path, *, anew: bool = False) -> None:
        told = folder.parent / f"{folder.name}.told"
        self._out, self._err = told.with_suffix(".out"), told.with_suffix(".err")
        start = _python if anew else _forked
        self.pid, self._wait = start(arguments, folder, (self._out, self._err))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; nothing while it runs."""
        if self.returncode is None:
            self.returncode = self._wait(0)
        return self.returncode

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit code, negative for a signal."""
        if self.returncode is None:
            self.returncode = self._wait(timeout_s)
        assert self.returncode is not None, f"not ended after {timeout_s} s: {self.err}"
        return self.returncode

    def send(self, number: int) -> None:
        """A signal to the process itself, not to those it started."""
        os.kill(self.pid, number)

    def kill(self, *, alone: bool = False) -> None:
        """SIGKILL to it and, unless `alone`, to all that it started."""
        try:
            (os.kill if alone else os.killpg)(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has no group of its own yet
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def kill_when(self, event: Event, *, alone: bool = False) -> bool:
        """Kill it as soon as an event is seen; whether it was before it ended by itself."""
        deadline = time.monotonic() + PATIENCE_S
        while self.poll() is None and time.monotonic() < deadline:
            if event():
                self.kill(alone=alone)
                return self.returncode == -signal.SIGKILL
            time.sleep(0.001)
        assert self.returncode is not None, "neither the event nor the end came in time"
        return False

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")


def after(seconds: float) -> Event:
    """The event that so much time has passed since this call."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def carry_out(arguments: Sequence[str], folder: Path, *, anew: bool = False) -> Command:
    """A command from start to end; it has to end well."""
    command = Command(arguments, folder, anew=anew)
    assert command.wait() == 0, command.err
    return command


Waiter = Callable[[float], int | None]


def _python(arguments: Sequence[str], folder: Path, told: tuple[Path, Path]) -> tuple[int, Waiter]:
    package = str(Path(posefabric.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    line = [sys.executable, "-m", "posefabric", *arguments]
    with told[0].open("w") as out, told[1].open("w") as err:
        process = subprocess.Popen(line, cwd=folder, env=environment, stdout=out, stderr=err, start_new_session=True)

    def wait(timeout_s: float) -> int | None:
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    return process.pid, wait


def _forked(arguments: Sequence[str], folder: Path, told: tuple[Path, Path]) -> tuple[int, Waiter]:
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(PRELOADED))
    process = server.Process(target=_obey, args=(list(arguments), folder, told))
    process.start()
    assert process.pid is not None

    def wait(timeout_s: float) -> int | None:
        process.join(timeout_s)
        return process.exitcode

    return process.pid, wait


def _obey(arguments: Sequence[str], folder: Path, told: tuple[Path, Path]) -> None:
    """In the new process: what the command line does when it is called from a shell."""
    from posefabric.cli import main

    os.setsid()
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)  # the system's own
    os.chdir(folder)
    for number, path in zip((1, 2), told, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    sys.argv = ["posefabric", *arguments]
    main()
