"""The expected cost of a supernet whose choices are not made yet: MACs of the whole net, differentiable in its logits.

Every cell draws one input, every edge one operation, by the shares of their mixtures; what nothing reaches or reads
costs nothing, and a named backbone is cut behind the coarsest stride that somebody reads. Exact where every choice is
certain; in between, chances of different cells are taken as independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posefabric.architecture import BACKBONE
from posefabric.models.choices import CellCosts, ChoiceCosts
from posefabric.models.mixing import SoftmaxMixing
from posefabric.models.net import PoseNet
from posefabric.space import ZERO, SearchSpace, Site, feature_name

Chances = dict[str, Tensor]
"""Site -> chance that each of its choices is drawn, one row per fabric."""


class ExpectedMacs:
    """Called with a supernet whose mixings have logits; gives its expected MACs as a float64 scalar."""

    def __init__(self, costs: ChoiceCosts) -> None:
        architecture = costs.architecture
        self._parts = tuple(architecture.partition)
        self._lattice = _Lattice(architecture.space, [costs.cells[part] for part in self._parts])
        strides = architecture.space.input_strides
        laterals = [[costs.laterals[part][s] for s in strides] for part in self._parts]
        self._laterals = torch.tensor(laterals, dtype=torch.float64)
        self._heads = float(sum(costs.heads.values()))
        self._strides, self._backbone = strides, [float(costs.backbone[s]) for s in strides]
        space = architecture.backbone.space
        self._backbone_lattice = None if space is None else _Lattice(space, [costs.cells[BACKBONE]])

    def __call__(self, net: PoseNet) -> Float[Tensor, ""]:
        inputs, edges = _chances(self._lattice.space, [net.mixing[part] for part in self._parts])
        cells, read = self._lattice(inputs, edges, {self._lattice.space.strides[0]: 1.0})
        read_by_part = torch.stack([read[feature_name(s)] for s in self._strides], dim=1)
        unread = (1 - read_by_part).prod(dim=0)  # of every stride, by all parts
        total = cells.sum() + (read_by_part * self._laterals.to(unread.device)).sum() + self._heads
        total = total + self._backbone_cut(unread)
        if self._backbone_lattice is None:
            return total
        wanted = {stride: 1 - unread[None, i] for i, stride in enumerate(self._strides)}
        inputs, edges = _chances(self._backbone_lattice.space, [net.mixing[BACKBONE]])
        cells, _ = self._backbone_lattice(inputs, edges, wanted)
        return total + cells.sum()

    def _backbone_cut(self, unread: Float[Tensor, " S"]) -> Float[Tensor, ""]:
        """Each further stage costs what it adds, by the chance that its stride or a coarser one is read."""
        macs = unread.new_tensor(self._backbone)
        deeper = 1 - unread.flip(0).cumprod(0).flip(0)
        return macs[0] + (macs.diff() * deeper[1:]).sum()


class _Lattice:
    """Chances and costs in P fabrics of one space at once."""

    def __init__(self, space: SearchSpace, tables: Sequence[Mapping[str, CellCosts]]) -> None:
        self.space = space
        self.operations = [name for name in space.operations if name != ZERO]
        nothing = CellCosts({}, tuple({} for _ in space.edges), 0)
        self._inputs: Chances = {}
        self._edges: Chances = {}
        self._node: Chances = {}
        for site in space.sites():
            cells = [table.get(site.name, nothing) for table in tables]
            inputs = [[cell.inputs.get(source.slot, 0) for source in site.sources] for cell in cells]
            edges = [[[edge.get(name, 0) for name in self.operations] for edge in cell.edges] for cell in cells]
            self._inputs[site.name] = torch.tensor(inputs, dtype=torch.float64)
            self._edges[site.name] = torch.tensor(edges, dtype=torch.float64)
            self._node[site.name] = torch.tensor([cell.node for cell in cells], dtype=torch.float64)

    def __call__(
        self, inputs: Chances, edges: Chances, wanted: Mapping[int, Tensor | float]
    ) -> tuple[Float[Tensor, " P"], Chances]:
        """Expected MACs of each fabric's cells, and the chance that each map is read; `wanted` has the outputs'."""
        sites = self.space.sites()
        first = inputs[sites[0].name]
        one = first.new_ones(len(first))
        alive = {feature_name(stride): one for stride in self.space.input_strides}
        reads, works, inner = {}, {}, {}
        for site in sites:
            offered = torch.stack([alive[source.origin] for source in site.sources], dim=1)
            reads[site.name] = inputs[site.name] * offered
            works[site.name], inner[site.name] = self._inside(site, edges[site.name])
            alive[site.name] = _any(reads[site.name]) * works[site.name]
        unread = dict.fromkeys(alive, one)
        for site in self.space.outputs():
            unread[site.name] = one - wanted.get(site.stride, 0.0)
        total = torch.zeros_like(one)
        for site in reversed(sites):
            needed, drawn = 1 - unread[site.name], reads[site.name]
            transitions = (drawn * self._inputs[site.name].to(one.device)).sum(dim=1)
            total = total + needed * (works[site.name] * transitions + _any(drawn) * inner[site.name])
            for origin in dict.fromkeys(source.origin for source in site.sources):
                mine = [i for i, source in enumerate(site.sources) if source.origin == origin]
                unread[origin] = unread[origin] * (1 - needed * works[site.name] * _any(drawn[:, mine]))
        return total, {name: 1 - chance for name, chance in unread.items()}

    def _inside(self, site: Site, chances: Float[Tensor, "P E O"]) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
        """The chance that a cell with an input computes something, and the MACs of its edges and projection then."""
        device = chances.device
        costs = (chances * self._edges[site.name].to(device)).sum(dim=2)
        live, one = _any(chances), chances.new_ones(len(chances))
        nodes, idle = {0: one}, one
        total = torch.zeros_like(one)
        for end in range(1, self.space.num_nodes + 1):
            incoming = [(i, start) for i, (start, stop) in enumerate(self.space.edges) if stop == end]
            total = total + sum(nodes[start] * costs[:, i] for i, start in incoming)
            dead = one
            for i, start in incoming:
                dead = dead * (1 - nodes[start] * live[:, i])
                idle = idle * (1 - live[:, i]) if start == 0 else idle
            nodes[end] = 1 - dead
            total = total + nodes[end] * self._node[site.name].to(device)
        return 1 - idle, total


def _any(chances: Tensor) -> Tensor:
    """The chance that one of several choices that exclude each other is drawn; certain where one is kept for sure."""
    return chances.sum(dim=-1).clamp(max=1)


def _chances(space: SearchSpace, mixings: Sequence[nn.Module]) -> tuple[Chances, Chances]:
    """Softmax of the logits of several fabrics, `zero` left out; a cell that a fabric lacks is never drawn."""
    inputs: dict[str, list[Tensor]] = {site.name: [] for site in space.sites()}
    edges: dict[str, list[Tensor]] = {site.name: [] for site in space.sites()}
    for mixing in mixings:
        assert isinstance(mixing, SoftmaxMixing)
        kept = [i for i, name in enumerate(mixing.operations) if name != ZERO]
        tables = {name: torch.softmax(alpha.double(), dim=-1)[:, kept] for name, alpha in mixing.alpha.items()}
        anywhere = next(iter(tables.values()))
        for site in space.sites():
            if site.name in mixing.beta:
                inputs[site.name].append(torch.softmax(mixing.beta[site.name].double(), dim=-1))
                edges[site.name].append(tables[mixing.SHARED if space.share_operations else site.name])
            else:
                inputs[site.name].append(anywhere.new_zeros(len(site.sources)))
                edges[site.name].append(torch.zeros_like(anywhere))
    return _stacked(inputs), _stacked(edges)


def _stacked(rows: Mapping[str, Sequence[Tensor]]) -> Chances:
    return {name: torch.stack(list(tensors)) for name, tensors in rows.items()}
