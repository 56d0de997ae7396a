"""One run folder for all the processes of a job: rank 0 writes it, the others work along on copies of their own."""

from __future__ import annotations

import atexit
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posefabric import ranks
from posefabric.errors import UserError
from posefabric.locks import LOCK_FILES
from posefabric.runs import Run

COPIES = ".rank-*"
"""The hidden folders, in the run folder, of processes that work along."""


def start(folder: Path, command: str, config: Mapping[str, Any], data: Mapping[str, Any]) -> Run:
    """`Run.start` in the folder that rank 0 names."""
    place = Path(ranks.from_first(str(folder.resolve())))
    run = Run.start(place, command, config, data) if ranks.rank() == 0 else None
    if run is not None and not run.finished:  # of a finished one nobody holds the lock
        _remove_copies(place)
    return _for_all(place, run)


def reopen(folder: Path) -> Run:
    """A run that is there, held against other jobs."""
    run = None
    if ranks.rank() == 0:
        run = Run(folder)
        run.hold()
        _remove_copies(folder)
    return _for_all(folder, run)


def copies(folder: Path) -> list[Path]:
    """Those in a run folder; where no job is at work, processes that were killed left them."""
    return sorted(folder.glob(COPIES))


def _remove_copies(folder: Path) -> None:
    for old in copies(folder):
        shutil.rmtree(old, ignore_errors=True)


def _for_all(folder: Path, held: Run | None) -> Run:
    ranks.highest(0)  # the folder is there now
    run = held or _copied(folder)
    ranks.highest(0)  # and has been copied
    return run


def _copied(folder: Path) -> Run:
    """The run of rank 0 without its checkpoints, in a folder that ends with this process.

    Raises `UserError("bad-run")` where it cannot be seen.
    """
    if not (folder / "run.json").is_file():
        found = f"{folder} has been written by another process of this job, and {socket.gethostname()} cannot see it"
        raise UserError("bad-run", found, "a folder on a file system that all machines share")
    own = folder / COPIES.replace("*", str(ranks.rank()))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    ignored = shutil.ignore_patterns("checkpoints", "tensorboard", "pictures", COPIES, *LOCK_FILES)
    return Run(Path(shutil.copytree(folder, own, ignore=ignored)))
