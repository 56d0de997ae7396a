"""One process at a time in a run folder.

The lock is the system's, so that of a process that died is gone with it; who holds it stands beside it, for people.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from posefabric.errors import UserError
from posefabric.texts import parse_json, read_text

LOCK, OWNER = LOCK_FILES = (".lock", ".lock.json")

PATIENCE_S, WORKERS_S = 0.2, 30.0
"""How long to wait for a lock; where its holder is dead, for the holder's worker processes to notice that."""


def hold(folder: Path) -> FileLock:
    """Take the lock of a folder for this process, until it is released or the process ends.

    A process may take it again and again. Raises `UserError("run-busy")`, naming the holder, where another has it.
    """
    lock = FileLock(folder / LOCK, is_singleton=True)
    try:
        try:
            lock.acquire(timeout=PATIENCE_S)
        except Timeout:
            if not _is_dead(_holder(folder)):
                raise
            lock.acquire(timeout=WORKERS_S)
    except Timeout:
        raise UserError("run-busy", f"{folder} is being written by {_named(_holder(folder))}") from None
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    (folder / OWNER).write_text(json.dumps(owner), encoding="utf-8")
    return lock


def _holder(folder: Path) -> Mapping[str, Any]:
    """What the last holder said of itself; nothing where that cannot be read."""
    try:
        file = folder / OWNER
        owner = parse_json(read_text(file, code="bad-run"), code="bad-run", where=str(file))
    except UserError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_dead(owner: Mapping[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    if owner.get("host") != socket.gethostname() or not isinstance(owner.get("pid"), int):
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _named(owner: Mapping[str, Any]) -> str:
    if not owner:
        return "another process"
    return f"process {owner.get('pid')} on {owner.get('host')}, since {owner.get('since')}"
