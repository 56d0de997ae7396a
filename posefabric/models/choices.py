"""What every choice of a supernet costs: the one counter's figures, laid out by fabric, cell, input and operation.

The sum over what a derived net keeps is its MACs exactly, so a search compares thousands of nets without building one.
Where widths are chosen it knows all: what joins two maps costs in proportion to the channels of both; what is in one
map is counted with its channels and with twice as many, and a part is in proportion to them, a part to their square.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from posefabric.architecture import Architecture
from posefabric.backbone import BACKBONE, FABRIC, STEM_STRIDE
from posefabric.genotype import CellChoice, Genotype, live_nodes, used_features, used_strides
from posefabric.models.backbones import build_backbone
from posefabric.models.cost import module_macs
from posefabric.models.net import PoseNet
from posefabric.space import SearchSpace, Site

Channels = Mapping[int, int]
"""Stride -> channels."""


@dataclass(frozen=True)
class CellCosts:
    """MACs in one cell: slot -> transition, per edge operation -> MACs, and the projection of one hidden node."""

    inputs: Mapping[str, int]
    edges: tuple[Mapping[str, int], ...]
    node: int

    def macs(self, space: SearchSpace, kept: CellChoice) -> int:
        """What a choice costs, if its cell computes at all."""
        inputs = sum(self.inputs[slot] for slot in kept.inputs)
        edges = sum(costs[name] for costs, edge in zip(self.edges, kept.edges, strict=True) for name in edge)
        return inputs + edges + self.node * len(live_nodes(space, kept))

    def at(self, doubled: CellCosts, site: Site, before: Channels, after: Channels) -> CellCosts:
        """The same at other channels, given also the costs at twice the channels before."""
        own = before[site.stride], after[site.stride]
        pairs = {s.slot: [widths[s.stride] * widths[site.stride] for widths in (before, after)] for s in site.sources}
        return CellCosts(
            inputs={slot: macs * pairs[slot][1] // pairs[slot][0] for slot, macs in self.inputs.items()},  # type: ignore[index]
            edges=tuple(
                {name: _within_a_map(macs, twice[name], *own) for name, macs in once.items()}
                for once, twice in zip(self.edges, doubled.edges, strict=True)
            ),
            node=_within_a_map(self.node, doubled.node, *own),
        )


@dataclass(frozen=True)
class ChoiceCosts:
    """MACs of every choice of an architecture at its input size.

    `cells`: fabric (a part, or `"backbone"`) -> site -> costs. `laterals`: part -> stride -> its 1x1 convolution.
    `heads`: part -> head. `backbone`: coarsest stride that somebody reads -> what of the backbone is no choice (a
    named network cut there, or the stem of a fabric). `doubled`, where widths are chosen: the costs with twice the
    channels.
    """

    architecture: Architecture
    cells: Mapping[str, Mapping[str, CellCosts]]
    laterals: Mapping[str, Mapping[int, int]]
    heads: Mapping[str, int]
    backbone: Mapping[int, int]
    doubled: ChoiceCosts | None = None

    @property
    def whole(self) -> int:
        """MACs of the architecture that keeps every choice."""
        return self.macs(self.architecture.all_genotypes())

    def macs(self, genotypes: Mapping[str, Genotype]) -> int:
        """MACs of a net that keeps these genotypes, pruned and named as in `Architecture.fabrics`."""
        return sum(self.by_part(genotypes).values())

    def by_part(self, genotypes: Mapping[str, Genotype]) -> dict[str, int]:
        """MACs of its parts, each with its laterals and its head, and under `"backbone"` all that they share."""
        spaces = {name: space for name, (space, _) in self.architecture.fabrics().items()}
        space, parts = self.architecture.space, {name: genotypes[name] for name in self.heads}
        spent = {BACKBONE: self.backbone[used_strides(space, parts)[-1]]}
        for name, part in parts.items():
            spent[name] = self.heads[name] + sum(self.laterals[name][s] for s in used_features(space, part))
        for name, genotype in genotypes.items():
            spent[name] += sum(self.cells[name][s].macs(spaces[name], kept) for s, kept in genotype.cells.items())
        return spent

    def at(self, widths: Mapping[str, Channels]) -> ChoiceCosts:
        """The costs at other widths; `widths`: fabric -> stride -> channels, where they differ from the architecture's.

        Only where widths are chosen. `architecture` stays what it was.
        """
        if self.doubled is None or not widths:
            assert not widths
            return self
        before, after = self.channels({}), self.channels(widths)
        spaces = {name: space for name, (space, _) in self.architecture.fabrics().items()}
        head, stem = self.architecture.output_stride, (before[BACKBONE][STEM_STRIDE], after[BACKBONE][STEM_STRIDE])
        return replace(
            self,
            cells={
                name: {
                    site: costs.at(self.doubled.cells[name][site], spaces[name].site(site), before[name], after[name])
                    for site, costs in cells.items()
                }
                for name, cells in self.cells.items()
            },
            laterals={
                part: {
                    s: macs * after[BACKBONE][s] * after[part][s] // (before[BACKBONE][s] * before[part][s])
                    for s, macs in laterals.items()
                }
                for part, laterals in self.laterals.items()
            },
            heads={part: macs * after[part][head] // before[part][head] for part, macs in self.heads.items()},
            backbone={
                s: macs + (self.doubled.backbone[s] - macs) * (stem[1] - stem[0]) // stem[0]
                for s, macs in self.backbone.items()
            },
        )

    def channels(self, widths: Mapping[str, Channels]) -> dict[str, dict[int, int]]:
        """Those of all fabrics then; the features of a named backbone, which do not change, count as one channel."""
        named = {BACKBONE: dict.fromkeys(self.architecture.space.strides, 1)}
        architecture = self.architecture
        return named | {
            name: architecture.channels(name) | dict(widths.get(name, {})) for name in architecture.fabrics()
        }


def choice_costs(architecture: Architecture) -> ChoiceCosts:
    """Count every choice that an architecture keeps, as a derived net has it, without allocating any weight."""
    costs = _counted(architecture)
    return replace(costs, doubled=_counted(_doubled(architecture))) if architecture.several_widths else costs


def _doubled(architecture: Architecture) -> Architecture:
    """With twice the channels everywhere."""
    names = architecture.fabrics()
    return architecture.with_widths(
        {name: {s: 2 * w for s, w in architecture.channels(name).items()} for name in names}
    )


def _within_a_map(once: int, twice: int, before: int, after: int) -> int:
    """MACs at `after` channels of what takes `once` at `before` and `twice` at twice as many."""
    square = (twice - 2 * once) // 2
    return (once - square) * after // before + square * after**2 // before**2


def _counted(architecture: Architecture) -> ChoiceCosts:
    with torch.device("meta"):
        image = torch.empty(1, 3, *architecture.input_hw)
        macs = module_macs(PoseNet(architecture.deployed()).eval(), image)
    prefixes = {part: f"parts.{part}.fabric.cells" for part in architecture.partition}
    prefixes[BACKBONE] = "backbone.fabric.cells"
    return ChoiceCosts(
        architecture=architecture,
        cells={
            name: {
                site: _cell_costs(macs, f"{prefixes[name]}.{site}", space, kept)
                for site, kept in genotype.cells.items()
            }
            for name, (space, genotype) in architecture.fabrics().items()
        },
        laterals={
            part: {s: macs.get(f"parts.{part}.laterals.{s}", 0) for s in architecture.space.input_strides}
            for part in architecture.partition
        },
        heads={part: macs[f"parts.{part}.head"] for part in architecture.partition},
        backbone={s: _backbone_macs(architecture, s, image, macs) for s in architecture.space.input_strides},
    )


def _cell_costs(macs: Mapping[str, int], module: str, space: SearchSpace, kept: CellChoice) -> CellCosts:
    return CellCosts(
        inputs={slot: macs.get(f"{module}.transitions.{slot}", 0) for slot in kept.inputs},
        edges=tuple(
            {name: macs.get(f"{module}.edges.{start}_{end}.{name}", 0) for name in operations}
            for (start, end), operations in zip(space.edges, kept.edges, strict=True)
        ),
        node=macs[f"{module}.projection"] // len(live_nodes(space, kept)),
    )


def _backbone_macs(architecture: Architecture, coarsest: int, image: torch.Tensor, macs: Mapping[str, int]) -> int:
    if architecture.backbone.name == FABRIC:
        return macs["backbone.stem"]
    with torch.device("meta"):
        return module_macs(build_backbone(architecture.backbone, coarsest).eval(), image)[""]
