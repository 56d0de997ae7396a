"""Parameters and multiply-adds of an architecture: the one counter, used by recipes, searches, tables and reports.

MACs are those of convolutions and matrix products of the whole net on one crop; upsampling, norms and activations are
not counted. The published tables of the paper print MACs / 2**30 as "GFLOPs"; we speak of MACs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from posefabric.handmade import Description
from posefabric.models.net import PartNet, build


@dataclass(frozen=True)
class PartCost:
    """Of one part, from lateral convolutions to vectors, and of each cell of its fabric, if it has one."""

    parameters: int
    macs: int
    cells: Mapping[str, int]


@dataclass(frozen=True)
class Cost:
    """Of the whole net, of its backbone, and part by part. Every parameter counted is read by the forward pass."""

    parameters: int
    macs: int
    backbone_parameters: int
    backbone_macs: int
    parts: Mapping[str, PartCost]


def count(architecture: Description, input_hw: tuple[int, int] | None = None) -> Cost:
    """Count on one crop of `input_hw` (the architecture's own unless said), without allocating any weight."""
    with torch.device("meta"):
        net = build(architecture).eval()
        image = torch.empty(1, 3, *(input_hw or architecture.input_hw))
    macs = module_macs(net, image)
    return Cost(
        parameters=_parameters(net),
        macs=macs[""],
        backbone_parameters=_parameters(net.backbone),
        backbone_macs=macs.get("backbone", 0),
        parts={
            name: PartCost(
                parameters=_parameters(part),
                macs=macs.get(f"parts.{name}", 0),
                cells={
                    cell: macs.get(f"parts.{name}.fabric.cells.{cell}", 0)
                    for cell in (part.fabric.cells if isinstance(part, PartNet) else ())
                },
            )
            for name, part in net.parts.items()
        },
    )


def module_macs(net: nn.Module, image: torch.Tensor) -> dict[str, int]:
    """Module name -> multiply-adds of one forward pass below it; `""` is the whole net."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(image)
    root = type(net).__name__
    return {
        name.removeprefix(root).removeprefix("."): sum(flops.values()) // 2
        for name, flops in counter.get_flop_counts().items()
        if name.startswith(root)
    }


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
