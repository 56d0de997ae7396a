"""A long run holds at its end what it held at its start, and leaves no process and no shared memory behind.

`make soak` sets POSEFABRIC_SOAK_MINUTES=30; without it nothing of this runs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from statistics import median

import pytest
from faults.killing import Command
from faults.processes import Held, held, members, shared_memory
from small_runs import TINY

MINUTES = float(os.environ.get("POSEFABRIC_SOAK_MINUTES", "0"))

pytestmark = [
    pytest.mark.skipif(not MINUTES, reason="POSEFABRIC_SOAK_MINUTES is not set"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(60 * MINUTES + 300),
]

WARM_UP, GROWTH, EVERY_S = 0.2, 0.02, 2.0
"""The share of the time that does not count, by how much the rest may grow, and how often it is looked at."""

ENDLESS = (*TINY, "data.synthetic_train=96", "data.num_workers=2", "search.epochs=1000000")


def test_a_long_run_grows_in_nothing(tmp_path: Path) -> None:
    shared = shared_memory()
    command = Command(
        ["search", "synthetic", "--recipe", "smoke", *_set(ENDLESS), "--output", "run"], tmp_path, anew=True
    )
    rows, seen = tmp_path / "run" / "metrics.jsonl", list[Held]()
    while not rows.exists():
        assert command.poll() is None, command.err
        time.sleep(EVERY_S)
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end:
        assert command.poll() is None, command.err
        seen.append(held(command.pid))
        time.sleep(EVERY_S)
    command.send(signal.SIGTERM)
    assert command.wait(30) == 143, command.err
    first, last = _ends(seen[int(WARM_UP * len(seen)) :])
    steps = rows.read_bytes().count(b'"train"')
    print(f"\n{MINUTES:g} minutes, {steps} steps; after the warm-up {first}, at the end {last}")
    assert last.memory <= (1 + GROWTH) * first.memory
    assert last.files <= (1 + GROWTH) * first.files
    assert last.processes == first.processes
    assert members(command.pid) == []
    assert shared_memory() <= shared


def _ends(seen: list[Held]) -> tuple[Held, Held]:
    """Medians of the first and of the last quarter."""
    quarter = len(seen) // 4
    first, last = (Held(*map(median, zip(*part, strict=True))) for part in (seen[:quarter], seen[-quarter:]))
    return first, last


def _set(assignments: tuple[str, ...]) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]
