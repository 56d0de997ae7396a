"""How exactly a run that was interrupted ends as if it had not been; the run's record and its report say so.

To the last bit on a CPU at one number of threads and one build of torch, and on a GPU with `deterministic=true`;
otherwise to about 1e-5, because sums are added up in another order.
"""

from __future__ import annotations

import logging
import os

import torch

from posefabric.models.net import Net
from posefabric.runs import RESUME, Run

logger = logging.getLogger(__name__)


def make_deterministic() -> None:
    """From now on in this process, equal inputs give equal bits, on a GPU too: nothing is tuned, what cannot fails."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def note_exactness(run: Run, net: Net) -> None:
    """Note in a run's record what its resumes are worth here; warn where a resume is not what it was begun on."""
    device = next(net.parameters()).device
    here = {
        "device": "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    noted = run.record.get(RESUME, {})
    changes = [
        f"{key} {noted[key]} before, {value} now" for key, value in here.items() if noted.get(key, value) != value
    ]
    if changes:
        logger.warning("resumed elsewhere (%s): results agree to about 1e-5, not to the last bit", "; ".join(changes))
    exact = device.type == "cpu" or torch.are_deterministic_algorithms_enabled()
    run.note(**{RESUME: {"exact": exact and not changes and noted.get("exact", True), **here}})
