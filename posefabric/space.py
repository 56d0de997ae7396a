"""The search space: which cells a fabric may have, where each takes its inputs from, and what may happen inside.

Where it stands in the walk: before the nets. This module is the only place that computes the lattice (PNFS section
III-B, figure 2): layer j of an L-layer fabric over S scales has `min(j + 2, S, L - j)` cells, from the finest scale on,
so a fabric grows from two scales to all of them and shrinks back to one. A *backbone* keeps the first layers, a *head*
the last. No torch here.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from posefabric.documents import STRICT
from posefabric.errors import UserError

ZERO = "zero"
"""The candidate that computes nothing: it has a logit in every mixture, and no module anywhere."""

HEAD_OPERATIONS = (ZERO, "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
BACKBONE_OPERATIONS = (*HEAD_OPERATIONS, "avg_pool_3x3", "max_pool_3x3")
"""The paper's candidates: part heads leave out pooling (section III-B)."""

SHARED = "shared"
"""Stands for all cells of a fabric where these have their operations in common (`SearchSpace.share_operations`)."""

Slot = Literal["same", "finer", "coarser", "feature"]
SLOTS: tuple[Slot, ...] = ("same", "finer", "coarser", "feature")
"""The inputs of a cell in the order of its betas (section III-B, equation 2); the last is ours (`entries`)."""


MOST = {"num_layers": 64, "base_channels": 1024, "num_nodes": 16, "partial_channels": 1024}
COARSEST = 1024
"""Beyond these no lattice is laid out: a file that asks for more is a mistake, or wants to fill the memory."""


@dataclass(frozen=True)
class Source:
    """One input of a cell: the slot it fills, the map it reads (a site's name or `feature<stride>`), its stride."""

    slot: Slot
    origin: str
    stride: int


@dataclass(frozen=True)
class Site:
    """One place of the lattice where a cell may stand."""

    name: str
    layer: int
    stride: int
    sources: tuple[Source, ...]


def feature_name(stride: int) -> str:
    """The name under which a fabric's cells refer to an input feature map."""
    return f"feature{stride}"


@dataclass(frozen=True)
class SearchSpace:
    """What may be chosen in one fabric.

    `num_layers` is L of the whole lens; layers `first_layer <= j < last_layer` are kept. `strides` are those of the
    scales, finest first, each twice the one before. A map at stride s has `base_channels * s` channels unless an
    architecture says otherwise. `num_nodes` is H, the hidden nodes of a cell. `share_operations`: one alpha for all
    cells of a fabric (the paper) or one per cell. `boundary`: `"repeat"` (the paper) feeds a missing neighbour's slot
    from the same scale, or at a new bottom cell from the finer one; `"omit"` has real neighbours only. `entries`: the
    features are read by the `"first"` kept layer (the paper), or by `"every"` one, so that a cell may do without the
    layers before it: then the number of cells is chosen too, and with it which stage of the backbone feeds a fabric.
    `auxiliary_skip`: while a search learns, every edge also passes on its input, by less and less (DARTS-).
    `partial_channels` K: in a supernet operations see one of K channels, the others pass by, and channels are shuffled
    (PC-DARTS); derived nets have K = 1 and inherit nothing.
    `width_multipliers`: the widths that a scale may have, as multiples of the channels above, ascending; a supernet is
    as wide as the last, and with several of them a search chooses one per fabric and scale.
    `share_parts`: all parts of the body have one alpha and one beta between them, so a search finds the same for all.
    """

    num_layers: int
    first_layer: int
    last_layer: int
    base_channels: int
    num_nodes: int = 1
    operations: tuple[str, ...] = HEAD_OPERATIONS
    share_operations: bool = True
    boundary: Literal["repeat", "omit"] = "repeat"
    strides: tuple[int, ...] = (4, 8, 16, 32)
    entries: Literal["first", "every"] = "first"
    auxiliary_skip: Literal["none", "linear", "cosine"] = "none"
    partial_channels: int = 1
    width_multipliers: tuple[float, ...] = (1.0,)
    share_parts: bool = False

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            if not 1 <= (value := getattr(self, name)) <= most:
                raise UserError("bad-space", f"{name} is {value}", f"1 to {most}")
        if not 0 <= self.first_layer < self.last_layer <= self.num_layers:
            raise UserError(
                "bad-space",
                f"layers {self.first_layer} to {self.last_layer} of {self.num_layers}",
                "0 <= first_layer < last_layer <= num_layers",
            )
        doubled = tuple(self.strides[0] * 2**scale for scale in range(len(self.strides)))
        if not self.strides or self.strides[0] < 1 or self.strides != doubled or self.strides[-1] > COARSEST:
            allowed = f"1 to {COARSEST}, each twice the one before"
            raise UserError("bad-space", f"strides are {self.strides}", allowed)
        if len(set(self.operations)) != len(self.operations) or set(self.operations) <= {ZERO}:
            raise UserError(
                "bad-space",
                f"operations are {self.operations}",
                "distinct names, one besides 'zero' at least",
            )
        multipliers = self.width_multipliers
        if not multipliers or multipliers[0] <= 0 or any(a >= b for a, b in itertools.pairwise(multipliers)):
            raise UserError("bad-space", f"width_multipliers are {multipliers}", "numbers above 0, ascending")
        if self.several_widths and self.partial_channels > 1:
            found = f"partial_channels is {self.partial_channels} with several width_multipliers"
            raise UserError(
                "bad-space", found, "one of the two: where channels are shuffled, no width is the first of them"
            )

    @staticmethod
    def head(base_channels: int, *, num_layers: int = 6, keep: int = 3, num_nodes: int = 1) -> SearchSpace:
        """The paper's part head: the last `keep` layers, no pooling."""
        return SearchSpace(num_layers, num_layers - keep, num_layers, base_channels, num_nodes)

    @staticmethod
    def backbone(base_channels: int, *, num_layers: int, keep: int, num_nodes: int = 1) -> SearchSpace:
        """The paper's CNF backbone: the first `keep` layers, all six operations."""
        return SearchSpace(num_layers, 0, keep, base_channels, num_nodes, BACKBONE_OPERATIONS)

    def deployed(self) -> SearchSpace:
        """The same without what is lent to a search alone."""
        return replace(self, auxiliary_skip="none", partial_channels=1)

    @property
    def input_strides(self) -> tuple[int, ...]:
        """The feature maps a fabric may read: all scales, or the stem's alone where layer 0 is kept."""
        return self.strides[:1] if self.first_layer == 0 else self.strides

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The edges of a cell, (from node, to node), in the order of their alphas; node 0 is the cell's input."""
        return tuple((i, j) for j in range(1, self.num_nodes + 1) for i in range(j))

    @property
    def several_widths(self) -> bool:
        """Whether widths are chosen."""
        return len(self.width_multipliers) > 1

    def channels(self, stride: int) -> int:
        """Those of a supernet: the widest."""
        return max(1, round(self.width_multipliers[-1] * self.base_channels * stride))

    def widths(self, widest: int) -> tuple[int, ...]:
        """The channels that a scale may have whose widest choice has `widest`, ascending."""
        return tuple(max(1, round(widest * m / self.width_multipliers[-1])) for m in self.width_multipliers)

    def layer_strides(self, layer: int) -> tuple[int, ...]:
        """The scales that have a cell in a layer of the lens."""
        return self.strides[: min(layer + 2, len(self.strides), self.num_layers - layer)]

    def sites(self) -> tuple[Site, ...]:
        """Every cell in forward order, layer by layer, finest scale first, with its sources."""
        return self._sites

    def site(self, name: str) -> Site:
        return self._sites_by_name[name]

    def outputs(self) -> tuple[Site, ...]:
        """The cells of the last kept layer."""
        return tuple(site for site in self._sites if site.layer == self.last_layer - 1)

    @cached_property
    def _sites_by_name(self) -> dict[str, Site]:
        return {site.name: site for site in self._sites}

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        maps = {stride: feature_name(stride) for stride in self.input_strides}
        sites: list[Site] = []
        for layer in range(self.first_layer, self.last_layer):
            row = [
                Site(f"layer{layer}_stride{stride}", layer, stride, self._sources(stride, maps))
                for stride in self.layer_strides(layer)
            ]
            maps = {site.stride: site.name for site in row}
            sites += row
        return tuple(sites)

    def _sources(self, stride: int, maps: dict[int, str]) -> tuple[Source, ...]:
        """The inputs of a cell, given the maps of the layer before: stride -> name."""
        wanted: dict[Slot, int] = {"same": stride, "finer": stride // 2, "coarser": stride * 2}
        stand_in = stride if stride in maps else stride // 2
        sources = []
        for slot, found in wanted.items():
            if found not in maps:
                if self.boundary == "omit":
                    continue
                found = stand_in
            sources.append(Source(slot, maps[found], found))
        if self.entries == "every" and feature_name(stride) not in maps.values() and stride in self.input_strides:
            sources.append(Source("feature", feature_name(stride), stride))
        return tuple(sources)
