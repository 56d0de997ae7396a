"""The processes of one job, a device each, as torchrun starts them: who is who, and how they come to one result.

Every rank sees its own part of a batch; gradients, losses and the running statistics of norms are averaged over the
ranks before anything learns from them, so that all ranks hold the same state, bit for bit. What only one can do, rank 0
does: it writes the run folder. In a process that stands alone everything here does nothing.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as torch_ranks

from posefabric.errors import UserError
from posefabric.heartbeat import Heartbeat

TIMEOUT = timedelta(minutes=30)
"""How long ranks wait for each other while all of them are alive (`heartbeat`): rank 0 alone writes files and pages."""


def launched() -> bool:
    """Whether torchrun has started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def join() -> None:
    """Meet the other processes of the job, if there are any; those but rank 0 are silent from then on."""
    if not launched() or torch_ranks.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    with _or_lost():
        torch_ranks.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    atexit.register(torch_ranks.destroy_process_group)
    heartbeat = Heartbeat.of_torchrun()
    heartbeat.start()
    atexit.register(heartbeat.stop)
    if rank() > 0:
        logging.getLogger("posefabric").setLevel(logging.ERROR)


def size() -> int:
    """How many ranks there are."""
    return torch_ranks.get_world_size() if torch_ranks.is_initialized() else 1


def rank() -> int:
    """Which of them this process is, from 0."""
    return torch_ranks.get_rank() if torch_ranks.is_initialized() else 0


def local_rank() -> int:
    """Which of the processes on this machine it is."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def means(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The mean over the ranks of each of some tensors, which have one dtype; no gradient goes through it."""
    if size() == 1 or not tensors:
        return list(tensors)
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    _all_reduce(flat, torch_ranks.ReduceOp.SUM)
    found = torch.split(flat / size(), [tensor.numel() for tensor in tensors])
    return [mean.view(tensor.shape) for tensor, mean in zip(tensors, found, strict=True)]


def add_up(*arrays: np.ndarray[Any, Any]) -> None:
    """Replace arrays by their sums over the ranks, in place: where each filled in its rows of zeros, all are filled."""
    if size() > 1:
        for array in arrays:
            _all_reduce(torch.from_numpy(array), torch_ranks.ReduceOp.SUM)


def highest(*numbers: int) -> list[int]:
    """The greatest that any rank has of each number."""
    if size() == 1:
        return list(numbers)
    found = torch.tensor(numbers, dtype=torch.int64)
    _all_reduce(found, torch_ranks.ReduceOp.MAX)
    return [int(number) for number in found]


def collect(value: Any) -> list[Any]:
    """What every rank gives, by rank; anything that JSON can hold."""
    if size() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
    lengths = np.zeros(size(), dtype=np.int64)
    lengths[rank()] = len(text)
    add_up(lengths)
    texts = np.zeros((size(), int(lengths.max())), dtype=np.uint8)
    texts[rank(), : len(text)] = text
    add_up(texts)
    return [json.loads(row[:length].tobytes()) for row, length in zip(texts, lengths, strict=True)]


def from_first(value: Any) -> Any:
    """What rank 0 gives; its value alone matters."""
    return collect(value if rank() == 0 else None)[0]


def first_does(work: Callable[[], Any]) -> None:
    """Let rank 0 do something while the others wait."""
    if rank() == 0:
        work()
    highest(0)


def fingerprint(tensors: Iterable[Tensor]) -> int:
    """A number that differs where any bit of the tensors does, as good as surely (CRC-32)."""
    flat = [tensor.detach().reshape(-1) for tensor in tensors]
    return zlib.crc32(torch.cat(flat).cpu().numpy().tobytes()) if flat else 0


def check_same(what: str, number: int, step: int) -> None:
    """Raise `UserError("ranks-differ")` on every rank where not all have the same number."""
    most, least = highest(number, -number)
    if most != -least:
        raise UserError("ranks-differ", f"{what} after step {step} differ between the {size()} processes of this job")


def _all_reduce(tensor: Tensor, operation: Any) -> None:
    with _or_lost():
        torch_ranks.all_reduce(tensor, operation)


@contextmanager
def _or_lost() -> Iterator[None]:
    """Inside, that another rank is gone is a user's error."""
    try:
        yield
    except RuntimeError as error:
        raise UserError("rank-lost", f"rank {os.environ['RANK']} cannot reach another: {error}") from error
