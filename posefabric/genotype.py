"""Genotypes and architectures: what was kept of a search space, as data that is compared, saved, pruned and drawn.

Where it stands in the walk: between the search space and the net. `PoseNet` builds any architecture; the supernet is
the architecture that keeps everything. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict

from posefabric import documents
from posefabric.errors import UserError, suggestion
from posefabric.skeletons import Partition, Skeleton, check_partition
from posefabric.space import ZERO, SearchSpace, feature_name

INITIAL_INPUT_WEIGHT = INITIAL_OPERATION_WEIGHT = 1.0
"""Weight of a choice in an equal mixture: number of choices x softmax of equal logits (the paper's code)."""


@dataclass(frozen=True)
class CellChoice:
    """What one cell keeps: slot -> multiplier, and for every edge of the space operation -> multiplier.

    Multipliers are stored as applied. An empty mapping in `edges` is a dropped edge; `zero` is never kept.
    """

    inputs: Mapping[str, float]
    edges: tuple[Mapping[str, float], ...]

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Genotype:
    """What one fabric keeps: site name -> choice, in any order; sites that are not named are empty."""

    cells: Mapping[str, CellChoice]

    __pydantic_config__ = ConfigDict(extra="forbid")


def everything(space: SearchSpace) -> Genotype:
    """The genotype of the supernet: every site, input and operation, each with weight 1."""
    operations = dict.fromkeys((name for name in space.operations if name != ZERO), INITIAL_OPERATION_WEIGHT)
    return Genotype(
        {
            site.name: CellChoice(
                inputs={source.slot: INITIAL_INPUT_WEIGHT for source in site.sources},
                edges=tuple(dict(operations) for _ in space.edges),
            )
            for site in space.sites()
        }
    )


def prune(space: SearchSpace, genotype: Genotype) -> Genotype:
    """Drop what no path from a feature reaches, then what reaches no output; weights stay as they are.

    A cell without inputs, or whose nodes have no edges, is empty and feeds nobody. Raises
    `UserError("empty-architecture")` when no output is left.
    """
    reached = _reached(space, genotype)
    needed = {site.name for site in space.outputs() if site.name in reached}
    if not needed:
        raise UserError(
            "empty-architecture", "no path leads from a feature to the fabric's output", "one path at least"
        )
    for site in reversed(space.sites()):
        if site.name in needed:
            needed |= {source.origin for source in site.sources if source.slot in reached[site.name].inputs}
    return Genotype({site.name: reached[site.name] for site in space.sites() if site.name in needed})


def _reached(space: SearchSpace, genotype: Genotype) -> dict[str, CellChoice]:
    available = {feature_name(stride) for stride in space.input_strides}
    reached: dict[str, CellChoice] = {}
    for site in space.sites():
        if site.name not in genotype.cells:
            continue
        choice = genotype.cells[site.name]
        origins = {source.slot: source.origin for source in site.sources}
        inputs = {slot: w for slot, w in choice.inputs.items() if origins[slot] in available}
        edges = _live_edges(space, choice)
        if inputs and any(edges):
            reached[site.name] = CellChoice(inputs, edges)
            available.add(site.name)
    return reached


def _live_edges(space: SearchSpace, choice: CellChoice) -> tuple[Mapping[str, float], ...]:
    live = {0}
    kept: list[Mapping[str, float]] = []
    for (start, end), operations in zip(space.edges, choice.edges, strict=True):
        kept.append(dict(operations) if start in live else {})
        if kept[-1]:
            live.add(end)
    return tuple(kept)


def live_nodes(space: SearchSpace, choice: CellChoice) -> tuple[int, ...]:
    """The hidden nodes of a pruned cell that compute something, ascending; node 0, the input, not counted."""
    return tuple(sorted({end for (_, end), operations in zip(space.edges, choice.edges, strict=True) if operations}))


def used_features(space: SearchSpace, genotype: Genotype) -> tuple[int, ...]:
    """Strides of the input feature maps that some kept cell reads."""
    origins = {
        source.origin
        for site in space.sites()
        if site.name in genotype.cells
        for source in site.sources
        if source.slot in genotype.cells[site.name].inputs
    }
    return tuple(stride for stride in space.input_strides if feature_name(stride) in origins)


@dataclass(frozen=True)
class Backbone:
    """Where the features come from: a named network of `models.backbones`, or `"fabric"` with its own genotype."""

    name: str
    space: SearchSpace | None = None
    genotype: Genotype | None = None

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        described = self.space is not None and self.genotype is not None
        if (self.name == FABRIC) != described:
            raise UserError(
                "bad-architecture",
                f"backbone '{self.name}' {'has' if described else 'lacks'} a space and a genotype",
                "space and genotype exactly where the name is 'fabric'",
            )
        if self.space is not None and self.genotype is not None:
            _check_genotype(self.space, self.genotype, "backbone.genotype")


FABRIC = "fabric"

FABRIC_SPACES: dict[str, SearchSpace] = {
    "fabric1": SearchSpace.backbone(10, num_layers=7, keep=3, num_nodes=2),
    "fabric2": SearchSpace.backbone(10, num_layers=8, keep=5),
    "fabric3": SearchSpace.backbone(12, num_layers=8, keep=5),
}
"""The paper's CNF backbones (section IV; layer counts of the released configurations)."""


def fabric_backbone(space: SearchSpace) -> Backbone:
    """A CNF backbone that keeps everything of its space."""
    return Backbone(FABRIC, space, everything(space))


@dataclass(frozen=True)
class Architecture:
    """A whole pose network as data.

    `input_hw` is the crop it is meant for, in pixels. `partition` and `genotypes` have the same part names; `widths`
    gives each part's channels at every stride of `space`. `activation`: `"squash"` turns the length of a
    `vector_dim`-vector into a score in [0, 1) (PNFS section III-D); `"linear"` takes a one-dimensional vector as the
    heatmap itself. `fusion` joins keypoints that several parts share: `"sum"` (the paper's code) or `"mean"`.
    Genotypes must be pruned. Contradictions raise `UserError("bad-architecture")` naming the field.
    """

    skeleton: Skeleton
    partition: Partition
    backbone: Backbone
    space: SearchSpace
    genotypes: Mapping[str, Genotype]
    widths: Mapping[str, tuple[int, ...]]
    input_hw: tuple[int, int]
    vector_dim: int = 8
    activation: Literal["squash", "linear"] = "squash"
    fusion: Literal["sum", "mean"] = "sum"
    format: Literal[1] = 1

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        check_partition(self.skeleton, self.partition, "partition")
        _check_head(self)
        for label, table in (("genotypes", self.genotypes), ("widths", self.widths)):
            if set(table) != set(self.partition):
                raise _bad(label, f"has the parts {sorted(table)}", f"{sorted(self.partition)}")
        for part, genotype in self.genotypes.items():
            _check_genotype(self.space, genotype, f"genotypes.{part}")
        for part, channels in self.widths.items():
            if len(channels) != len(self.space.strides) or min(channels) < 1:
                raise _bad(f"widths.{part}", f"is {channels}", f"{len(self.space.strides)} numbers of at least 1")

    def channels(self, part: str) -> dict[int, int]:
        """Stride -> channels of a part's fabric."""
        return dict(zip(self.space.strides, self.widths[part], strict=True))

    @property
    def output_stride(self) -> int:
        return self.space.strides[0]

    @property
    def heatmap_hw(self) -> tuple[int, int]:
        return self.input_hw[0] // self.output_stride, self.input_hw[1] // self.output_stride

    def with_genotypes(self, genotypes: Mapping[str, Genotype]) -> Architecture:
        """The same network with other (unpruned) genotypes, pruned."""
        pruned = {part: prune(self.space, genotype) for part, genotype in genotypes.items()}
        return replace(self, genotypes=pruned)


def supernet(
    skeleton: Skeleton,
    partition: Partition,
    backbone: Backbone,
    space: SearchSpace,
    input_hw: tuple[int, int],
    *,
    vector_dim: int = 8,
    activation: Literal["squash", "linear"] = "squash",
    fusion: Literal["sum", "mean"] = "sum",
) -> Architecture:
    """The architecture that keeps everything, at the paper's widths."""
    return Architecture(
        skeleton=skeleton,
        partition=partition,
        backbone=backbone,
        space=space,
        genotypes={part: everything(space) for part in partition},
        widths={part: tuple(space.channels(stride) for stride in space.strides) for part in partition},
        input_hw=input_hw,
        vector_dim=vector_dim,
        activation=activation,
        fusion=fusion,
    )


def read_architecture(path: str | Path) -> Architecture:
    """Read an architecture file, or that of a run folder."""
    path = Path(path)
    file = path / "architecture.json" if path.is_dir() else path
    return documents.read_json(Architecture, file, code="bad-architecture")


def _bad(where: str, found: str, allowed: str) -> UserError:
    return UserError("bad-architecture", f"{where} {found}", allowed)


def _check_head(architecture: Architecture) -> None:
    outputs = architecture.space.outputs()
    if [site.stride for site in outputs] != [architecture.output_stride]:
        raise _bad("space", f"ends in {len(outputs)} cells", "a head, whose last layer is one cell at the finest scale")
    coarsest = architecture.space.strides[-1]
    if any(size < coarsest or size % coarsest for size in architecture.input_hw):
        raise _bad("input_hw", f"is {architecture.input_hw}", f"multiples of {coarsest}")
    if architecture.vector_dim < 1:
        raise _bad("vector_dim", f"is {architecture.vector_dim}", "at least 1")
    if architecture.activation == "linear" and architecture.vector_dim != 1:
        raise _bad("vector_dim", f"is {architecture.vector_dim} with activation 'linear'", "1")


def _check_genotype(space: SearchSpace, genotype: Genotype, where: str) -> None:
    names = [site.name for site in space.sites()]
    candidates = [operation for operation in space.operations if operation != ZERO]
    for name, choice in genotype.cells.items():
        if name not in names:
            raise _bad(f"{where}.cells", f"names the unknown site '{name}'{suggestion(name, names)}", ", ".join(names))
        slots = [source.slot for source in space.site(name).sources]
        _check_weights(choice.inputs, slots, f"{where}.cells.{name}.inputs")
        if len(choice.edges) != len(space.edges):
            raise _bad(f"{where}.cells.{name}.edges", f"has {len(choice.edges)} entries", f"{len(space.edges)}")
        for i, operations in enumerate(choice.edges):
            _check_weights(operations, candidates, f"{where}.cells.{name}.edges.{i}")
    pruned = prune(space, genotype)
    if pruned != genotype:
        dead = sorted(set(genotype.cells) - set(pruned.cells)) or ["an input or edge"]
        raise _bad(where, f"holds what nothing reads or feeds: {', '.join(dead)}", "a pruned genotype (see `prune`)")


def _check_weights(weights: Mapping[str, float], known: Sequence[str], where: str) -> None:
    for name, weight in weights.items():
        if name not in known:
            raise _bad(where, f"names the unknown choice '{name}'{suggestion(name, known)}", ", ".join(known))
        if not math.isfinite(weight):
            raise _bad(f"{where}.{name}", f"is {weight}", "a finite number")
