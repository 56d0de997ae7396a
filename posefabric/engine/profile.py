"""What a network costs: parameters, MACs and latency, of the whole and part by part."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from posefabric.handmade import Description
from posefabric.models.cost import count
from posefabric.models.net import Net, build

WARM_UP, REPEATS = 3, 20


def profile_architecture(architecture: Description, input_hw: tuple[int, int] | None = None) -> dict[str, Any]:
    """Figures under the keys of the command line; latency is the median of eager passes at batch 1 on the CPU."""
    size = input_hw or architecture.input_hw
    cost = count(architecture, size)
    return {
        "parameters": cost.parameters,
        "macs": cost.macs,
        "latency_ms": round(latency_ms(build(architecture), size), 2),
        "input_hw": list(size),
        "backbone": {"parameters": cost.backbone_parameters, "macs": cost.backbone_macs},
        "parts": {
            name: {"parameters": part.parameters, "macs": part.macs, "cells": dict(part.cells)}
            for name, part in cost.parts.items()
        },
    }


@torch.inference_mode()
def latency_ms(net: Net, input_hw: tuple[int, int]) -> float:
    """Median milliseconds of a forward pass at batch 1, channels last, with the threads torch has."""
    net.eval().to(memory_format=torch.channels_last)
    image = torch.randn(1, 3, *input_hw).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(WARM_UP + REPEATS):
        began = time.perf_counter()
        net(image)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times[WARM_UP:])
