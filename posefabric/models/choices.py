"""What every choice of a supernet costs: the one counter's figures, laid out by fabric, cell, input and operation.

The sum over what a derived net keeps is its MACs exactly, so a search compares thousands of nets without building one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from posefabric.architecture import BACKBONE, FABRIC, Architecture
from posefabric.genotype import CellChoice, Genotype, live_nodes, used_features, used_strides
from posefabric.models.backbones import build_backbone
from posefabric.models.cost import module_macs
from posefabric.models.net import PoseNet
from posefabric.space import SearchSpace


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


@dataclass(frozen=True)
class ChoiceCosts:
    """MACs of every choice of an architecture at its input size.

    `cells`: fabric (a part, or `"backbone"`) -> site -> costs. `laterals`: part -> stride -> its 1x1 convolution.
    `heads`: part -> head. `backbone`: coarsest stride that somebody reads -> what of the backbone is no choice (a
    named network cut there, or the stem of a fabric).
    """

    architecture: Architecture
    cells: Mapping[str, Mapping[str, CellCosts]]
    laterals: Mapping[str, Mapping[int, int]]
    heads: Mapping[str, int]
    backbone: Mapping[int, int]

    @property
    def whole(self) -> int:
        """MACs of the architecture that keeps every choice."""
        return self.macs({name: genotype for name, (_, genotype) in self.architecture.fabrics().items()})

    def macs(self, genotypes: Mapping[str, Genotype]) -> int:
        """MACs of a net that keeps these genotypes, pruned and named as in `Architecture.fabrics`."""
        spaces = {name: space for name, (space, _) in self.architecture.fabrics().items()}
        total = sum(
            self.cells[name][site].macs(spaces[name], kept)
            for name, genotype in genotypes.items()
            for site, kept in genotype.cells.items()
        )
        space, parts = self.architecture.space, {name: genotypes[name] for name in self.heads}
        total += sum(self.laterals[name][s] for name, part in parts.items() for s in used_features(space, part))
        return total + sum(self.heads.values()) + self.backbone[used_strides(space, parts)[-1]]


def choice_costs(architecture: Architecture) -> ChoiceCosts:
    """Count every choice that an architecture keeps, as a derived net has it, without allocating any weight."""
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
