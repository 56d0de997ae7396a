"""What a reader does with a file and what that costs, seen from outside: in a process of its own, so that a hang, a
crash or a full memory is a result like any other.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from posefabric.errors import UserError

PATIENCE_S = 20.0
"""How long a reader may take before it counts as hung."""

ROOM = 4 * 2**30
"""Bytes of address space that a reader may take beyond what the process has."""


@dataclass(frozen=True)
class Outcome:
    """How a reading ended: `code` is that of the `UserError`, "" where there was none, or what else happened.

    `seconds` of the processor it took; by `grown` bytes the process grew at its peak.
    """

    code: str
    message: str = ""
    seconds: float = 0.0
    grown: int = 0


def outcome(read: Callable[[], Any]) -> Outcome:
    """Call a reader in a copy of this process, within limits."""
    return outcomes([read])[0]


def outcomes(reads: Sequence[Callable[[], Any]]) -> list[Outcome]:
    """Call readers one after the other in one copy; what kills it is the outcome of all that are left."""
    ours, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        _report(theirs, reads)
    os.close(theirs)
    deadline, told = time.monotonic() + PATIENCE_S, b""
    while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(ours, 1 << 16)
        if not piece:
            break
        told += piece
    else:
        os.kill(process, signal.SIGKILL)
    os.close(ours)
    _, status = os.waitpid(process, 0)
    found = [Outcome(**json.loads(line)) for line in told.splitlines()]
    return found + [Outcome(f"died with status {status}", "", PATIENCE_S)] * (len(reads) - len(found))


def _report(pipe: int, reads: Sequence[Callable[[], Any]]) -> None:
    """In the copy: read, tell, and end without any cleaning up."""
    try:
        pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115  the process ends at once
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM,) * 2)
        before = _peak()
        for read in reads:
            os.write(pipe, json.dumps(_tried(read, before).__dict__).encode() + b"\n")
    finally:
        os._exit(0)


def _tried(read: Callable[[], Any], before: int) -> Outcome:
    start = time.process_time()
    code, message = "", ""
    try:
        read()
    except UserError as error:
        code, message = error.code, str(error)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is told
        code, message = type(error).__name__, "".join(traceback.format_exception(error))[-2000:]
    return Outcome(code, message, time.process_time() - start, _peak() - before)


def _peak() -> int:
    """Bytes of memory that this process has had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
