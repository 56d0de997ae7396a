"""The expected cost of a supernet whose choices are not made yet: MACs of the whole net, differentiable in its logits.

Every cell draws one input, every edge one operation, every scale one width, by the shares of their mixtures. What
nothing reaches or reads costs nothing, and a named backbone is cut behind the coarsest stride that somebody reads.
Exact where every choice is certain; in between, chances of different cells are taken as independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posefabric.backbone import BACKBONE, STEM_STRIDE
from posefabric.models.choices import CellCosts, ChoiceCosts
from posefabric.models.mixing import SoftmaxMixing
from posefabric.models.net import PoseNet
from posefabric.space import SHARED, ZERO, SearchSpace, Site, feature_name


class ExpectedMacs:
    """Called with a supernet whose mixings have logits; gives its expected MACs as a float64 scalar."""

    def __init__(self, costs: ChoiceCosts) -> None:
        architecture = costs.architecture
        self._parts, self._space = tuple(architecture.partition), architecture.space
        self._cells = _CellTables(costs, self._parts)
        tables, strides = _at_each_width(costs, self._parts), self._space.input_strides
        features = costs.channels({})[BACKBONE]
        laterals = [[[t.laterals[part][s] / features[s] for t in tables] for s in strides] for part in self._parts]
        self._laterals = torch.tensor(laterals, dtype=torch.float64)  # P S n, per channel of the feature
        self._heads = torch.tensor([[t.heads[part] for t in tables] for part in self._parts], dtype=torch.float64)
        fabric = architecture.backbone.space is not None
        tables = _at_each_width(costs, (BACKBONE,)) if fabric else [costs]
        self._backbone = torch.tensor([[t.backbone[s] for t in tables] for s in strides], dtype=torch.float64)
        self._backbone_cells = _CellTables(costs, (BACKBONE,)) if fabric else None

    def __call__(self, net: PoseNet) -> Float[Tensor, ""]:
        parts, backbone = self.by_part(net)
        return parts.sum() + backbone

    def by_part(self, net: PoseNet) -> tuple[Float[Tensor, " P"], Float[Tensor, ""]]:
        """What the parts cost, each with its laterals and its head, and what the backbone does."""
        space, strides = self._space, self._space.input_strides
        drawn = _chances(space, [net.mixing[part] for part in self._parts])
        cells, read = _expected(space, drawn, self._cells.mean(drawn.widths), {space.strides[0]: 1.0})
        reads = torch.stack([read[feature_name(s)] for s in strides], dim=1)
        macs, widths = self._laterals.to(reads.device), torch.stack([drawn.widths[s] for s in strides], dim=1)
        laterals = reads * (macs * widths).sum(dim=2)
        heads = self._heads.to(reads.device) * drawn.widths[space.strides[0]]
        unread = (1 - reads).prod(dim=0)  # of every stride, by all parts
        backbone, factors = self._of_backbone(net, unread)
        return cells + (laterals * factors).sum(dim=1) + heads.sum(dim=1), backbone

    def _of_backbone(self, net: PoseNet, unread: Float[Tensor, " S"]) -> tuple[Float[Tensor, ""], Float[Tensor, " S"]]:
        """What the backbone costs, and how many of a feature's channels a lateral convolution pays for."""
        macs, tables = self._backbone.to(unread.device), self._backbone_cells
        if tables is None:  # each further stage costs what it adds, by the chance that it or a coarser one is read
            deeper = 1 - unread.flip(0).cumprod(0).flip(0)
            return macs[0, 0] + (macs[:, 0].diff() * deeper[1:]).sum(), torch.ones_like(unread)
        drawn = _chances(tables.space, [net.mixing[BACKBONE]])
        wanted = {stride: 1 - unread[None, i] for i, stride in enumerate(self._space.input_strides)}
        cells, _ = _expected(tables.space, drawn, tables.mean(drawn.widths), wanted)
        channels = tables.channels(drawn.widths)
        stem = (macs[0] * drawn.widths[STEM_STRIDE]).sum()
        return cells.sum() + stem, torch.cat([channels[s] for s in self._space.input_strides])


def _at_each_width(costs: ChoiceCosts, fabrics: Sequence[str]) -> list[ChoiceCosts]:
    """The costs with all scales of these fabrics, which have one space, at their first, second, ... width."""
    if costs.doubled is None:
        return [costs]
    choices = {name: costs.architecture.width_choices(name) for name in fabrics}
    count = len(choices[fabrics[0]][costs.architecture.output_stride])
    return [
        costs.at({name: {s: w[i] for s, w in found.items()} for name, found in choices.items()}) for i in range(count)
    ]


class _Costs(NamedTuple):
    """MACs in P fabrics: of every cell's inputs P I, of the operations of its edges P E O, of a node's projection P."""

    inputs: dict[str, Tensor]
    edges: dict[str, Tensor]
    node: dict[str, Tensor]


class _Drawn(NamedTuple):
    """Chances in P fabrics: of every cell's inputs P I, of operations P E O, `zero` left out, and of widths P n."""

    inputs: dict[str, Tensor]
    edges: dict[str, Tensor]
    widths: dict[int, Tensor]


class _CellTables:
    """MACs in the cells of P fabrics of one space, at each of their n widths."""

    def __init__(self, costs: ChoiceCosts, fabrics: Sequence[str]) -> None:
        architecture = costs.architecture
        self.space = architecture.fabrics()[fabrics[0]][0]
        names = [name for name in self.space.operations if name != ZERO]
        nothing = CellCosts({}, tuple({} for _ in self.space.edges), 0)
        tables = _at_each_width(costs, fabrics)
        choices = [architecture.width_choices(fabric) for fabric in fabrics]
        self._widths = {s: _tensor([found[s] for found in choices]) for s in self.space.strides}  # P n
        self._pairs: dict[str, Tensor] = {}  # P I: per channel of the source and of the cell
        self._edges: dict[str, Tensor] = {}  # P E O n
        self._node: dict[str, Tensor] = {}  # P n
        for site in self.space.sites():
            cells = [[table.cells[fabric].get(site.name, nothing) for table in tables] for fabric in fabrics]
            self._pairs[site.name] = _tensor(
                [
                    [
                        of[-1].inputs.get(s.slot, 0) / (widest[s.stride][-1] * widest[site.stride][-1])
                        for s in site.sources
                    ]
                    for of, widest in zip(cells, choices, strict=True)
                ]
            )
            self._edges[site.name] = _tensor(
                [
                    [[[c.edges[e].get(n, 0) for c in of] for n in names] for e in range(len(self.space.edges))]
                    for of in cells
                ]
            )
            self._node[site.name] = _tensor([[cell.node for cell in of] for of in cells])

    def channels(self, widths: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The mean channels P of every scale."""
        return {s: (chances * self._widths[s].to(chances.device)).sum(dim=1) for s, chances in widths.items()}

    def mean(self, widths: Mapping[int, Tensor]) -> _Costs:
        """The mean over the widths; those of two scales are independent."""
        mean, costs = self.channels(widths), _Costs({}, {}, {})
        for site in self.space.sites():
            own = widths[site.stride]
            sources = torch.stack([mean[source.stride] for source in site.sources], dim=1)
            costs.inputs[site.name] = self._pairs[site.name].to(own.device) * sources * mean[site.stride][:, None]
            costs.edges[site.name] = (self._edges[site.name].to(own.device) * own[:, None, None]).sum(dim=3)
            costs.node[site.name] = (self._node[site.name].to(own.device) * own).sum(dim=1)
        return costs


def _expected(
    space: SearchSpace, drawn: _Drawn, costs: _Costs, wanted: Mapping[int, Tensor | float]
) -> tuple[Float[Tensor, " P"], dict[str, Tensor]]:
    """Expected MACs of each fabric's cells, and the chance that each map is read; `wanted` has the outputs'."""
    first = drawn.inputs[space.sites()[0].name]
    one = first.new_ones(len(first))
    alive = {feature_name(stride): one for stride in space.input_strides}
    reads, works, inner = {}, {}, {}
    for site in space.sites():
        offered = torch.stack([alive[source.origin] for source in site.sources], dim=1)
        reads[site.name] = drawn.inputs[site.name] * offered
        works[site.name], inner[site.name] = _inside(space, drawn.edges[site.name], costs, site)
        alive[site.name] = _any(reads[site.name]) * works[site.name]
    unread = dict.fromkeys(alive, one)
    for site in space.outputs():
        unread[site.name] = one - wanted.get(site.stride, 0.0)
    total = torch.zeros_like(one)
    for site in reversed(space.sites()):
        needed, read = 1 - unread[site.name], reads[site.name]
        transitions = (read * costs.inputs[site.name]).sum(dim=1)
        total = total + needed * (works[site.name] * transitions + _any(read) * inner[site.name])
        for origin in dict.fromkeys(source.origin for source in site.sources):
            mine = [i for i, source in enumerate(site.sources) if source.origin == origin]
            unread[origin] = unread[origin] * (1 - needed * works[site.name] * _any(read[:, mine]))
    return total, {name: 1 - chance for name, chance in unread.items()}


def _inside(
    space: SearchSpace, chances: Float[Tensor, "P E O"], costs: _Costs, site: Site
) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
    """The chance that a cell with an input computes something, and the MACs of its edges and projection then."""
    edges = (chances * costs.edges[site.name]).sum(dim=2)
    live, one = _any(chances), chances.new_ones(len(chances))
    nodes, idle = {0: one}, one
    total = torch.zeros_like(one)
    for end in range(1, space.num_nodes + 1):
        incoming = [(i, start) for i, (start, stop) in enumerate(space.edges) if stop == end]
        total = total + sum(nodes[start] * edges[:, i] for i, start in incoming)
        dead = one
        for i, start in incoming:
            dead = dead * (1 - nodes[start] * live[:, i])
            idle = idle * (1 - live[:, i]) if start == 0 else idle
        nodes[end] = 1 - dead
        total = total + nodes[end] * costs.node[site.name]
    return 1 - idle, total


def _any(chances: Tensor) -> Tensor:
    """The chance that one of several choices that exclude each other is drawn; certain where one is kept for sure."""
    return chances.sum(dim=-1).clamp(max=1)


def _chances(space: SearchSpace, mixings: Sequence[nn.Module]) -> _Drawn:
    """Softmax of the logits of several fabrics; a cell that a fabric lacks is never drawn, a scale is at its widest."""
    inputs: dict[str, list[Tensor]] = {site.name: [] for site in space.sites()}
    edges: dict[str, list[Tensor]] = {site.name: [] for site in space.sites()}
    widths: dict[int, list[Tensor]] = {stride: [] for stride in space.strides}
    for mixing in mixings:
        assert isinstance(mixing, SoftmaxMixing)
        kept = [i for i, name in enumerate(mixing.operations) if name != ZERO]
        tables = {name: torch.softmax(alpha.double(), dim=-1)[:, kept] for name, alpha in mixing.alpha.items()}
        anywhere = next(iter(tables.values()))
        for site in space.sites():
            if site.name in mixing.beta:
                inputs[site.name].append(torch.softmax(mixing.beta[site.name].double(), dim=-1))
                edges[site.name].append(tables[SHARED if space.share_operations else site.name])
            else:
                inputs[site.name].append(anywhere.new_zeros(len(site.sources)))
                edges[site.name].append(torch.zeros_like(anywhere))
        widest = anywhere.new_tensor([0.0] * (len(space.width_multipliers) - 1) + [1.0])
        for stride in space.strides:
            logits = mixing.width.get(str(stride))
            widths[stride].append(widest if logits is None else torch.softmax(logits.double(), dim=-1))
    return _Drawn(_stacked(inputs), _stacked(edges), {stride: torch.stack(rows) for stride, rows in widths.items()})


def _stacked(rows: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack(list(tensors)) for name, tensors in rows.items()}


def _tensor(numbers: Sequence[Any]) -> Float[Tensor, "..."]:
    return torch.tensor(numbers, dtype=torch.float64)
