"""One run folder for all the processes of a job: rank 0 writes it, the others work along on copies of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posefabric import ranks
from posefabric.runs import Run


def start(folder: Path, command: str, config: Mapping[str, Any], data: Mapping[str, Any]) -> Run:
    """`Run.start` in the folder that rank 0 names."""
    place = Path(ranks.from_first(str(folder.resolve())))
    return _for_all(place, Run.start(place, command, config, data) if ranks.rank() == 0 else None)


def reopen(folder: Path) -> Run:
    """A run that is there, held against other jobs."""
    run = None
    if ranks.rank() == 0:
        run = Run(folder)
        run.hold()
    return _for_all(folder, run)


def _for_all(folder: Path, held: Run | None) -> Run:
    if held is not None:
        held.remove_followers()
    ranks.highest(0)  # the folder is there now
    run = held or Run.follow(folder, ranks.rank())
    ranks.highest(0)  # and has been copied
    return run
