"""A crash rehearsed: the first steps of a training twice, once in peace and once killed two times; are they the same?

What is promised of a resume is so proved on the user's own data and machine, before a long run depends on it.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from posefabric.checkpoints import load_tensors
from posefabric.errors import UserError

logger = logging.getLogger(__name__)

STEPS, KILLED_AFTER = 12, (3, 7)
"""How long the rehearsed training is, and after how many of its steps it is killed."""


def rehearse(line: Sequence[str]) -> dict[str, Any]:
    """Rehearse a training, given as its command line without `--output`.

    `exact` says whether losses and weights are the same to the last bit, `max_abs_diff` how far weights are apart. A
    training that fails, or is too short to be killed, raises `UserError("rehearsal-failed")`.
    """
    with tempfile.TemporaryDirectory(prefix="posefabric-") as folder:
        calm, killed = Path(folder) / "calm", Path(folder) / "killed"
        logger.info("rehearsing: %d steps in peace", STEPS)
        _train(line, calm, ())
        logger.info("rehearsing: the same steps, killed after %d and after %d", *KILLED_AFTER)
        _train(line, killed, KILLED_AFTER)
        exact = _losses(calm) == _losses(killed)
        ours, theirs = (load_tensors(run / "weights.safetensors") for run in (calm, killed))
    apart = max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours)
    exact = exact and all(torch.equal(ours[name], theirs[name]) for name in ours)
    return {"kills": len(KILLED_AFTER), "steps": STEPS, "exact": exact, "max_abs_diff": apart}


def _train(line: Sequence[str], output: Path, kills: Sequence[int]) -> None:
    """Train into a folder, by the same command again after every kill."""
    limit = ["--set", f"train.max_steps={STEPS}", "--output", str(output)]
    whole = [sys.executable, "-m", "posefabric", *line, *limit]
    for number in kills:
        if _comes_to_its_end(whole, output, number):
            found = f"the rehearsed training was over before it could be killed after {number} steps"
            todo = "For the rehearsal, raise train.epochs or lower train.batch_size."
            raise UserError("rehearsal-failed", found, f"{STEPS} steps or more", todo)
    _comes_to_its_end(whole, output)


def _comes_to_its_end(line: Sequence[str], output: Path, number: int | None = None) -> bool:
    """Whether a process trained to the end; it is killed once `number` steps are logged. Raises what it fails with."""
    with tempfile.TemporaryFile() as said:  # no pipe: one that nobody reads stops the process when it is full
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=said) as process:
            while process.poll() is None and (number is None or _steps(output) < number):
                time.sleep(0.01)
            killed = process.poll() is None
            process.kill()
        said.seek(0)
        told = said.read().decode(errors="replace")
    if process.returncode and not killed:
        raise UserError("rehearsal-failed", f"the rehearsed training ended with an error: {told[-2000:].strip()}")
    return process.returncode == 0


def _steps(run: Path) -> int:
    """How many steps a run has logged so far."""
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b'"split": "train"') if file.exists() else 0


def _losses(run: Path) -> list[str]:
    """The logged rows, whose numbers stand there to the last bit."""
    return (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
