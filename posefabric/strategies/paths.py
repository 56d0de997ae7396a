"""Single best paths through fabrics: Viterbi over the logarithms of beta, as in Auto-DeepLab, at a price or without.

A path keeps one input per cell and one operation per edge. With a price, likelihood is weighed against MACs: from the
likeliest path at weight 0 to the cheapest at weight 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from posefabric.genotype import CellChoice, Genotype
from posefabric.models.choices import CellCosts
from posefabric.space import SearchSpace, Site, feature_name

LEAST = 1e-300
"""Stands for a share of 0, so that the only path there is stays a path."""


@dataclass(frozen=True)
class Price:
    """What compute weighs: `weight` from 0 to 1, `unit` the MACs that count as much as a factor e of likelihood.

    `features`: stride -> MACs of reading a feature; those not named cannot be read.
    """

    cells: Mapping[str, CellCosts]
    features: Mapping[int, int]
    weight: float
    unit: float

    def score(self, log_share: float, macs: float) -> float:
        return (1 - self.weight) * log_share - self.weight * macs / self.unit


@dataclass
class _Trellis:
    """The best score of every map so far."""

    scores: dict[str, float] = field(default_factory=dict)

    def best(self, site: Site, gains: Mapping[str, float]) -> tuple[str, float]:
        """The slot of a cell's best input and the path's score; the first of equals; no score where nothing leads."""
        totals = {
            source.slot: self.scores.get(source.origin, -math.inf) + gains[source.slot]
            for source in site.sources
            if source.slot in gains
        }
        slot = max(totals, key=lambda name: totals[name])
        return slot, totals[slot]


def best_path(space: SearchSpace, genotype: Genotype, price: Price | None = None) -> Genotype:
    """Every cell with its best predecessor and best operations alone; what the output does not need is not pruned."""
    trellis = _Trellis()
    for stride in space.input_strides:
        if price is None:
            trellis.scores[feature_name(stride)] = 0.0
        elif stride in price.features:
            trellis.scores[feature_name(stride)] = price.score(0.0, price.features[stride])
    kept = {}
    for site in space.sites():
        if site.name in genotype.cells:
            kept[site.name] = _best_cell(space, site, genotype.cells[site.name], price, trellis)
    return Genotype(kept)


def _best_cell(space: SearchSpace, site: Site, cell: CellChoice, price: Price | None, trellis: _Trellis) -> CellChoice:
    costs = price.cells[site.name] if price else None
    gains = _gains(cell.inputs, price, costs.inputs if costs else {})
    slot, score = trellis.best(site, gains)
    edges = []
    for i, operations in enumerate(cell.edges):
        options = _gains(operations, price, costs.edges[i] if costs else {})
        name = max((name for name in space.operations if name in options), key=lambda n: options[n], default=None)
        edges.append({} if name is None else {name: operations[name]})
        score += options[name] if price and name is not None else 0.0
    if price and costs:
        score += price.score(0.0, costs.node * space.num_nodes)
    trellis.scores[site.name] = score
    return CellChoice({slot: cell.inputs[slot]} if score > -math.inf else {}, tuple(edges))


def _gains(weights: Mapping[str, float], price: Price | None, costs: Mapping[str, int]) -> dict[str, float]:
    shares = log_shares(weights)
    return {name: price.score(share, costs[name]) if price else share for name, share in shares.items()}


def log_shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Logarithm of each weight's share of all."""
    total = sum(weights.values())
    return {name: math.log(max(w / total if total else 1 / len(weights), LEAST)) for name, w in weights.items()}
