"""Progress of long work on stderr: a bar with ETA in a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType

import rich.console
import rich.progress

logger = logging.getLogger(__name__)

LINE_SECONDS = 15.0
"""Without a terminal, how often a line is written."""

HEADLINES = ("AP", "PCK@0.2", "PCK@0.2/box", "PCKh@0.5")


class Progress:
    """Counts steps. `quiet` (the level of the package's logger above INFO) silences it."""

    def __init__(self, name: str, num_steps: int, start: int = 0) -> None:
        self.name, self.num_steps, self.done, self.start = name, num_steps, start, start
        self.began = self.last_line = time.monotonic()
        quiet = not logger.isEnabledFor(logging.INFO)
        self.bar = _bar() if sys.stderr.isatty() and not quiet else None

    def __enter__(self) -> Progress:
        if self.bar is not None:
            self.bar.start()
            self.task = self.bar.add_task(self.name, total=self.num_steps, completed=self.start, loss="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, loss: float | None = None) -> None:
        """One step is done."""
        told = "" if loss is None else f"loss {loss:.3g}"
        self.done += 1
        if self.bar is not None:
            self.bar.update(self.task, advance=1, loss=told)
        elif time.monotonic() - self.last_line > LINE_SECONDS:
            self.last_line = time.monotonic()
            share = (self.num_steps - self.done) / max(self.done - self.start, 1)
            eta = _minutes((self.last_line - self.began) * share)
            figures = ", ".join(filter(None, [told, f"{eta} left"]))
            logger.info("%s: step %d of %d, %s", self.name, self.done, self.num_steps, figures)

    def report(self, step: int, measured: Mapping[str, float]) -> None:
        """Print the headline figures of a validation."""
        figures = ", ".join(f"{key} {measured[key]:.3g}" for key in HEADLINES if key in measured)
        logger.info("%s: step %d of %d, validation %s", self.name, step, self.num_steps, figures)


def _bar() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.fields[loss]}"),
        console=rich.console.Console(stderr=True),
    )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class ByteProgress:
    """Counts the bytes of one file; silent as `Progress` is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last_line = time.monotonic()
        quiet = not logger.isEnabledFor(logging.INFO)
        self.bar = _byte_bar() if sys.stderr.isatty() and not quiet else None

    def __enter__(self) -> ByteProgress:
        if self.bar is not None:
            self.bar.start()
            self.task = self.bar.add_task(self.name, total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, done: int, total: int | None) -> None:
        """So many bytes of so many are there (None: nobody knows)."""
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total)
        elif time.monotonic() - self.last_line > LINE_SECONDS:
            self.last_line = time.monotonic()
            of_all = f" of {total / 1e6:,.0f}" if total else ""
            logger.info("%s: %s%s MB", self.name, f"{done / 1e6:,.0f}", of_all)


def _byte_bar() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=rich.console.Console(stderr=True),
    )
