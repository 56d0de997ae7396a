"""Stage 5 of the walk: the fabric, a lattice of cells that mixes features of all scales into one map (PNFS III-B).

A cell is built from what a genotype keeps and multiplies it by what a mixing says; it knows no search algorithm. What a
mixing gives no weight is not run.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from posefabric.errors import unknown_name
from posefabric.genotype import CellChoice, Genotype, live_nodes
from posefabric.models.mixing import CellWeights, Weight
from posefabric.models.operations import OPERATIONS
from posefabric.models.slimming import Masks, Slimmable, slim, slimmed
from posefabric.space import SearchSpace, Site, feature_name


def transition(source_stride: int, stride: int, channels: Mapping[int, int]) -> nn.Module:
    """T of equation 2: a map of one stride to the size and channels of another, at most one scale away.

    Finer to coarser: 3x3 convolution of stride 2. Coarser to finer: 1x1 convolution, then bilinear upsampling with
    aligned corners. Both with BatchNorm and, as in the released code, without ReLU. Same scale: identity.
    """
    if source_stride == stride:
        return Slimmable()
    source_channels, width = channels[source_stride], channels[stride]
    if source_stride < stride:
        return Slimmable(nn.Conv2d(source_channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width))
    return Slimmable(
        nn.Conv2d(source_channels, width, 1),
        nn.BatchNorm2d(width),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    )


def lateral(source_channels: int, channels: int, *, always: bool = False) -> nn.Module:
    """A part's own 1x1 convolution from a feature map; nothing where the channels already agree (released code).

    `always` where widths are chosen: channels that happen to agree at one width do not at another.
    """
    agree = source_channels == channels and not always
    return nn.Identity() if agree else nn.Conv2d(source_channels, channels, 1)


class Projection(nn.Module):
    """The 1x1 convolution over a cell's concatenated nodes, with one weight per node so that nodes can be dropped."""

    def __init__(self, channels: int, nodes: tuple[int, ...]) -> None:
        super().__init__()
        whole = nn.Conv2d(channels * len(nodes), channels, 1)
        blocks = whole.weight.detach().chunk(len(nodes), dim=1)
        self.weights = nn.ParameterDict(
            [(str(node), nn.Parameter(block.clone())) for node, block in zip(nodes, blocks, strict=True)]
        )
        self.bias = whole.bias

    def forward(self, nodes: list[Tensor]) -> Tensor:
        return F.conv2d(torch.cat(nodes, dim=1), torch.cat(list(self.weights.values()), dim=1), self.bias)


class Cell(nn.Module):
    """One cell: mixed inputs, ReLU, hidden nodes joined by mixed operations, projection (equations 1 to 3)."""

    def __init__(self, space: SearchSpace, site: Site, choice: CellChoice, channels: Mapping[int, int]) -> None:
        super().__init__()
        width, self.stride, self.partial = channels[site.stride], site.stride, space.partial_channels
        seen = width // self.partial
        sources = [source for source in site.sources if source.slot in choice.inputs]
        self.origins: dict[str, str] = {source.slot: source.origin for source in sources}
        self.transitions = nn.ModuleDict(
            {source.slot: transition(source.stride, site.stride, channels) for source in sources}
        )
        self.edges: Mapping[str, nn.ModuleDict] = nn.ModuleDict(  # type: ignore[assignment]
            {
                f"{start}_{end}": nn.ModuleDict({name: build_operation(name, seen) for name in operations})
                for (start, end), operations in zip(space.edges, choice.edges, strict=True)
                if operations
            }
        )
        self.nodes = {
            node: [
                (index, start) for index, (start, end) in enumerate(space.edges) if end == node and choice.edges[index]
            ]
            for node in live_nodes(space, choice)
        }
        self.projection = Projection(width, tuple(self.nodes))

    def forward(self, maps: Mapping[str, Tensor], weights: CellWeights, mask: Tensor | None = None) -> Tensor:
        nodes = {
            0: F.relu(
                _total(
                    weights.inputs[slot] * slimmed(T, maps[self.origins[slot]], mask)
                    for slot, T in self.transitions.items()
                    if slot in weights.inputs
                )
            )
        }
        for node, incoming in self.nodes.items():
            nodes[node] = _total(
                term
                for index, start in incoming
                for term in self._along(f"{start}_{node}", nodes[start], weights.edges[index], weights.skip, mask)
            )
        return slim(self.projection([nodes[node] for node in self.nodes]), mask)

    def _along(
        self, edge: str, node: Tensor, weights: Mapping[str, Weight], skip: float, mask: Tensor | None
    ) -> Iterator[Tensor]:
        """What one edge makes of the node it starts from."""
        seen = node if self.partial == 1 else node[:, : node.shape[1] // self.partial]
        operations = self.edges[edge].items()
        mixed = (weights[name] * slimmed(T, seen, mask) for name, T in operations if name in weights)
        if self.partial == 1:
            yield from mixed
        else:
            yield _shuffled(torch.cat([_total(mixed), node[:, seen.shape[1] :]], dim=1), self.partial)
        if skip:
            yield skip * node


class Fabric(nn.Module):
    """The kept cells of one lattice. Takes stride -> feature map; gives stride -> map of the last layer's cells.

    Masks of channels, by stride, are those of widths that are not decided yet.
    """

    def __init__(self, space: SearchSpace, genotype: Genotype, channels: Mapping[int, int]) -> None:
        super().__init__()
        kept = [site for site in space.sites() if site.name in genotype.cells]
        self.cells: Mapping[str, Cell] = nn.ModuleDict(  # type: ignore[assignment]
            {site.name: Cell(space, site, genotype.cells[site.name], channels) for site in kept}
        )
        self.outputs = {site.stride: site.name for site in space.outputs() if site in kept}

    def read(self, weights: Mapping[str, CellWeights]) -> set[str]:
        """Names of the maps that the cells with weights take their inputs from."""
        return {self.cells[name].origins[slot] for name, cell in weights.items() for slot in cell.inputs}

    def forward(
        self,
        features: Mapping[int, Float[Tensor, "B _ _ _"]],
        weights: Mapping[str, CellWeights],
        masks: Masks | None = None,
    ) -> dict[int, Float[Tensor, "B _ _ _"]]:
        maps = {feature_name(stride): feature for stride, feature in features.items()}
        for name, cell in self.cells.items():
            if name in weights:
                maps[name] = cell(maps, weights[name], masks[cell.stride] if masks else None)
        return {stride: maps[name] for stride, name in self.outputs.items() if name in maps}


def build_operation(name: str, channels: int) -> nn.Module:
    """An operation by name. Raises `UserError` for one that does not exist."""
    if name not in OPERATIONS:
        raise unknown_name("operation", name, tuple(OPERATIONS))
    return OPERATIONS[name](channels)


def _shuffled(channels: Tensor, groups: int) -> Tensor:
    """One channel of every group after the other."""
    return torch.unflatten(channels, 1, (groups, -1)).transpose(1, 2).flatten(1, 2)  # B C h w


def _total(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, terms)
