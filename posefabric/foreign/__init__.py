"""Tensors that others saved: the one door for PyTorch's own files, which may hold code; safetensors cannot.

A file of PyTorch is a pickle, so nothing of it is opened in this process. Another one does it, bounded in memory and
time, with `weights_only`, after it has looked at the archive (`archives`, `unpacking`); what comes back is safetensors.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from torch import Tensor

from posefabric.checkpoints import load_tensors
from posefabric.errors import BAD_DATA, UserError
from posefabric.foreign.kinds import SAFETENSORS, kind_of

logger = logging.getLogger(__name__)

MAX_BYTES = 2 * 2**30
"""The largest file that is opened. With the optimizer's state the largest of the paper's nets has 0.4 GB."""

TIME_S = 300
"""How long the other process may take; it needs some seconds."""


def read_foreign(file: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, on the CPU, under the names they were saved under.

    A state dict may lie in a larger checkpoint (`{"epoch": ..., "model": {...}}`) as long as it is the only one there.
    Raises `UserError`: `missing-file`, or `bad-weights` for whatever is no whole file of tensors and nothing else.
    """
    kind = kind_of(file)
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise UserError("bad-weights", f"{file} has {size / 1e9:.1f} GB", f"{MAX_BYTES / 1e9:.1f} GB at most")
    if kind == SAFETENSORS:
        return load_tensors(file)
    with tempfile.TemporaryDirectory(prefix="posefabric-") as folder:
        unpacked = Path(folder) / "tensors.safetensors"
        _unpack_apart(file, unpacked)
        return load_tensors(unpacked)


def _unpack_apart(file: Path, target: Path) -> None:
    """Write the tensors of a file of PyTorch as safetensors, in another process."""
    if sys.platform != "linux":
        logger.warning("on this system the memory of the process that reads %s is not bounded", file)
    # -P and the path of this process: what lies in the folder of a download is never imported
    line = [sys.executable, "-P", "-m", "posefabric.foreign.unpacking", str(file.resolve()), str(target)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=TIME_S, env=environment)
    except subprocess.TimeoutExpired:
        raise UserError("bad-weights", f"{file} could not be read within {TIME_S} s") from None
    if done.returncode == BAD_DATA:
        found = json.loads(done.stdout)
        raise UserError("bad-weights", f"{file} {found['given']}", found["allowed"], found["todo"])
    if done.returncode < 0:
        found = f"{file} asks for more memory or time than a file of its size needs"
        raise UserError("bad-weights", found, "a whole file of tensors")
    if done.returncode:
        raise RuntimeError(f"the process that reads {file} failed:\n{done.stderr[-2000:]}")
