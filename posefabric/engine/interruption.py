"""Signals during a run: the step at hand is finished, its state saved, and only then the run ends.

A second signal ends the process at once, by the system's own rule.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from posefabric import ranks
from posefabric.errors import INTERRUPTED
from posefabric.signals import ENDINGS, set_deadline


class Interruption:
    """While entered, signals wait for `held` blocks to end; outside of them they end the run at once.

    A run ends by `KeyboardInterrupt` where Ctrl-C was hit, else by `SystemExit` with the exit code. In threads other
    than the main one, where Python forbids handlers, signals keep their meaning.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._agreed: int | None = None
        self._held = False
        self._before: dict[int, Any] = {}
        self._deadline: threading.Timer | None = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in ENDINGS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None and self.asked is not None:  # it came after the last look, or what it raised was lost
            raise _ending(self.asked)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, a signal is only noted (`asked`)."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def agree(self) -> bool:
        """Whether a signal has come to any of the job's processes; then all of them end after the same step."""
        self._agreed = ranks.highest(self.asked or 0)[0] or None
        return self._agreed is not None

    def end_if_agreed(self) -> None:
        """End the run where a signal has come, to whatever process."""
        if self._agreed is not None:
            raise _ending(self._agreed)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        for known in ENDINGS:
            signal.signal(known, signal.SIG_DFL)
        self._deadline = set_deadline(ENDINGS[signal.Signals(number)])
        if not self._held:
            raise _ending(number)  # lost where Python is in a destructor: then the deadline counts


def _ending(number: int) -> BaseException:
    code = ENDINGS[signal.Signals(number)]
    return KeyboardInterrupt() if code == INTERRUPTED else SystemExit(code)
