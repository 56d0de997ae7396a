"""The signals by which systems and people end a process: which exit code each means, and by when the end must come."""

from __future__ import annotations

import os
import signal
import threading

from posefabric.errors import INTERRUPTED, TERMINATED

ENDINGS = {signal.SIGTERM: TERMINATED, signal.SIGINT: INTERRUPTED}
if hasattr(signal, "SIGUSR1"):
    ENDINGS[signal.SIGUSR1] = TERMINATED  # batch systems announce the end of a job by it

PATIENCE_S = 10.0
"""How long a process may still take once a signal has come."""


def set_deadline(code: int) -> threading.Timer:
    """End this process by force, with an exit code, when patience is over; unless that is cancelled."""
    deadline = threading.Timer(PATIENCE_S, os._exit, (code,))
    deadline.daemon = True
    deadline.start()
    return deadline
