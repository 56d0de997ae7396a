"""Jobs of several processes under torchrun, as users start them: the command line, or `parity` of this package."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def launch_together(count: int, module: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """`python -m module` in so many processes, in a session of their own, started in a folder."""
    import posefabric

    places = [Path(posefabric.__file__).parents[1], Path(__file__).parents[1]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "CUDA_VISIBLE_DEVICES": ""}
    line = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    return subprocess.Popen(
        [sys.executable, "-m", *line, "-m", *module],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def members(job: subprocess.Popen[str]) -> list[int]:
    """The process ids of a job's ranks, in their order."""
    found = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    ranks = {_rank(int(child)): int(child) for child in found}
    return [ranks[number] for number in sorted(ranks) if number >= 0]


def all_gone(processes: Sequence[int], seconds: float) -> bool:
    """Whether processes end within some seconds."""
    end = time.monotonic() + seconds
    while any(is_running(process) for process in processes):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _rank(process: int) -> int:
    """The rank of a process that torchrun started, else -1."""
    variables = Path(f"/proc/{process}/environ").read_text().split("\0")
    return next((int(text.removeprefix("RANK=")) for text in variables if text.startswith("RANK=")), -1)
