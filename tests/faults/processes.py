"""What a group of processes holds: memory, open files, shared memory. From Linux's /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

PROC, SHARED = Path("/proc"), Path("/dev/shm")


class Held(NamedTuple):
    """Resident bytes and open files of all processes of a group, and how many there are."""

    memory: int
    files: int
    processes: int


def members(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    return [pid for pid in _all() if _group_and_state(pid) in {(group, state) for state in "RSDTt"}]


def held(group: int) -> Held:
    """What a group holds now; a process that ends meanwhile holds nothing."""
    memory, files, pids = 0, 0, members(group)
    for pid in pids:
        with contextlib.suppress(OSError):
            memory += int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            files += len(list((PROC / str(pid) / "fd").iterdir()))
    return Held(memory, files, len(pids))


def shared_memory() -> set[str]:
    """The names of all shared memory of the machine that somebody has not given back."""
    return {path.name for path in SHARED.iterdir()}


def _all() -> list[int]:
    return [int(path.name) for path in PROC.iterdir() if path.name.isdecimal()]


def _group_and_state(pid: int) -> tuple[int, str]:
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, ""
    return int(fields[2]), fields[0]
