"""What every choice of a supernet takes on one machine: measured module by module, laid out as its MACs are.

Where it stands in the walk: beside the counter. A table is data: what a module is, at its shapes, and its nanoseconds.
With them in the place of MACs a search expects milliseconds, and a net's figure is the sum over what it keeps. What
modules cost each other (caches, memory) is not in a sum; `docs/search.md` says how well it predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.backbone import BACKBONE, FABRIC, STEM_STRIDE, Backbone
from posefabric.documents import STRICT
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, live_nodes
from posefabric.models.backbones import FabricBackbone, build_backbone
from posefabric.models.choices import CellCosts, ChoiceCosts
from posefabric.models.fabric import Projection, build_operation, transition
from posefabric.models.head import VectorHead
from posefabric.space import SearchSpace, Site

Forward = Callable[[Tensor], Any]


class Timed(NamedTuple):
    """What is timed as one: its `key` says what it is and at which shapes; `shape` is that of its input, C h w."""

    key: str
    build: Callable[[], Forward]
    shape: tuple[int, int, int]


CostOf = Callable[[Timed], int]


@dataclass(frozen=True)
class LatencyTable:
    """Key -> nanoseconds of a pass at batch 1, on a `device` with so many `threads` and a version of `torch`."""

    device: str
    threads: int
    torch: str
    nanoseconds: Mapping[str, int]
    format: Literal[1] = 1

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        for key, value in self.nanoseconds.items():
            if value < 0:
                raise UserError("bad-latency", f"'{key}' takes {value} ns", "0 or more")


def read_table(path: Path) -> LatencyTable:
    """Read what `posefabric profile --calibrate` wrote."""
    return documents.read_json(LatencyTable, path, code="bad-latency")


def latency_costs(architecture: Architecture, table: LatencyTable) -> ChoiceCosts:
    """The choices of an architecture in nanoseconds. What the table lacks raises `UserError("bad-latency")`."""
    if architecture.several_widths:
        raise UserError("bad-latency", "widths that are to be chosen", "one width, or MACs: search.cost_unit=macs")

    def looked_up(timed: Timed) -> int:
        if timed.key not in table.nanoseconds:
            raise UserError("bad-latency", f"the latency table has no '{timed.key}'", "a table of this supernet")
        return table.nanoseconds[timed.key]

    return laid_out(architecture, looked_up)


def timed_choices(architecture: Architecture) -> dict[str, Timed]:
    """Key -> what is timed, of all choices of an architecture.

    Heads are there for every number of keypoints up to the skeleton's: a table holds for all partitions.
    """
    found: dict[str, Timed] = {}

    def noted(timed: Timed) -> int:
        found.setdefault(timed.key, timed)
        return 0

    laid_out(architecture, noted)
    layout, (part, *_) = _Layout(architecture, noted), architecture.partition
    for num_keypoints in range(1, architecture.skeleton.num_keypoints + 1):
        layout.head(part, num_keypoints)
    return found


def laid_out(architecture: Architecture, cost_of: CostOf) -> ChoiceCosts:
    """The costs of all choices of an architecture, by a function of what is timed."""
    layout = _Layout(architecture, cost_of)
    strides = architecture.space.input_strides
    return ChoiceCosts(
        architecture=architecture,
        cells={
            name: {
                site.name: layout.cell(name, space, site, genotype.cells[site.name])
                for site in space.sites()
                if site.name in genotype.cells
            }
            for name, (space, genotype) in architecture.fabrics().items()
        },
        laterals={part: {s: layout.lateral(part, s) for s in strides} for part in architecture.partition},
        heads={part: layout.head(part, len(names)) for part, names in architecture.partition.items()},
        backbone={s: layout.backbone(s) for s in strides},
    )


class _Layout:
    """What is timed at every place of an architecture. The weight that a choice is multiplied by is timed with it."""

    def __init__(self, architecture: Architecture, cost_of: CostOf) -> None:
        self.architecture, self.cost_of = architecture, cost_of
        with torch.device("meta"):
            self.features = build_backbone(architecture.backbone, architecture.space.input_strides[-1]).channels

    def cell(self, fabric: str, space: SearchSpace, site: Site, kept: CellChoice) -> CellCosts:
        channels = self.architecture.channels(fabric)
        width, place = channels[site.stride], self._size(site.stride)

        def moved(stride: int) -> Timed:
            key = f"transition {stride}>{site.stride} {channels[stride]}>{width} {place}"
            make = partial(transition, stride, site.stride, channels)
            return Timed(key, partial(_weighted, make), self._shape(channels[stride], stride))

        def operation(name: str) -> Timed:
            make = partial(build_operation, name, width)
            return Timed(f"{name} {width} {place}", partial(_weighted, make), self._shape(width, site.stride))

        nodes = live_nodes(space, kept)
        make = partial(_projection, partial(Projection, width, nodes), len(nodes))
        projection = Timed(f"projection {len(nodes)}x{width} {place}", make, self._shape(width, site.stride))
        return CellCosts(
            inputs={s.slot: self.cost_of(moved(s.stride)) for s in site.sources if s.slot in kept.inputs},
            edges=tuple({name: self.cost_of(operation(name)) for name in edge} for edge in kept.edges),
            node=self.cost_of(projection) // len(nodes),
        )

    def lateral(self, part: str, stride: int) -> int:
        feature, width = self.features.get(stride), self.architecture.channels(part)[stride]
        if feature is None or feature == width:
            return 0
        key = f"lateral {feature}>{width} {self._size(stride)}"
        make = partial(nn.Conv2d, feature, width, 1)
        return self.cost_of(Timed(key, partial(_plain, make), self._shape(feature, stride)))

    def head(self, part: str, num_keypoints: int) -> int:
        net = self.architecture
        width = net.channels(part)[net.output_stride]
        key = f"head {width}>{num_keypoints}x{net.vector_dim} {net.activation} {self._size(net.output_stride)}"
        make = partial(VectorHead, width, num_keypoints, net.vector_dim, net.activation)
        return self.cost_of(Timed(key, partial(_plain, make), self._shape(width, net.output_stride)))

    def backbone(self, coarsest: int) -> int:
        """A named network cut behind a stride; of a fabric the stem, its cells are choices."""
        net = self.architecture
        make: Callable[[], nn.Module] = partial(build_backbone, net.backbone, coarsest)
        key = f"{net.backbone.name} to {coarsest} {self._size(1)}"
        if net.backbone.name == FABRIC:
            make = partial(_stem, net.backbone)
            key = f"stem {net.channels(BACKBONE)[STEM_STRIDE]} {self._size(1)}"
        return self.cost_of(Timed(key, partial(_plain, make), self._shape(3, 1)))

    def _shape(self, channels: int, stride: int) -> tuple[int, int, int]:
        height, width = self.architecture.input_hw
        return channels, height // stride, width // stride

    def _size(self, stride: int) -> str:
        _, height, width = self._shape(1, stride)
        return f"{height}x{width}"


def _plain(make: Callable[[], nn.Module]) -> nn.Module:
    return make().eval().to(memory_format=torch.channels_last)


def _weighted(make: Callable[[], nn.Module]) -> Forward:
    module = _plain(make)
    return lambda x: 1.0 * module(x)


def _projection(make: Callable[[], nn.Module], nodes: int) -> Forward:
    module = _plain(make)
    return lambda x: module([x] * nodes)


def _stem(backbone: Backbone) -> nn.Module:
    return FabricBackbone(backbone).stem
