"""The latency table of an architecture on this machine: every module it may have, timed by itself.

Rounds go over all modules in turn, so that what else the machine does meets them alike; the median of rounds counts.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Collection

import torch

from posefabric.architecture import Architecture
from posefabric.models.latency import LatencyTable, Timed, timed_choices

WARM_UP, ROUNDS = 2, 20


def calibrate(
    architecture: Architecture, rounds: int = ROUNDS, clock: Callable[[], int] = time.perf_counter_ns
) -> LatencyTable:
    """Time all choices of an architecture at batch 1, channels last, eager, with the threads torch has, on the CPU."""
    return LatencyTable(
        device=platform.processor() or platform.machine(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        nanoseconds=_medians(timed_choices(architecture).values(), rounds, clock),
    )


@torch.inference_mode()
def _medians(timed: Collection[Timed], rounds: int, clock: Callable[[], int]) -> dict[str, int]:
    """Key -> median nanoseconds. Between two passes of a module run all others, so its caches are as in a net: cold."""
    modules = {one.key: one.build() for one in timed}
    images = {one.key: _channels_last(one.shape) for one in timed}
    times: dict[str, list[int]] = {key: [] for key in modules}
    for _ in range(WARM_UP + rounds):
        for key, forward in modules.items():
            began = clock()
            forward(images[key])
            times[key].append(clock() - began)
    return {key: round(statistics.median(found[WARM_UP:])) for key, found in sorted(times.items())}


def _channels_last(shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.randn(1, *shape).contiguous(memory_format=torch.channels_last)
