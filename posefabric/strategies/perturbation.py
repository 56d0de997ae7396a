"""Choices weighed by what their removal costs, in place of alpha and beta (DARTS-PT, 2108.04392).

One mixture after the other is decided, edges before inputs: each candidate is taken out of the mixture alone, what is
left is scored, and those stay whose removal hurts most. What comes out is again a mixture, so that a budget ranks its
choices as it ranks any other's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from posefabric.architecture import Architecture
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype
from posefabric.progress import Progress
from posefabric.settings import SearchSettings
from posefabric.strategies.protocol import Score

Genotypes = dict[str, Genotype]


@dataclass(frozen=True)
class Judge:
    """`score` rates what is left of a mixture, higher is better; `seed` decides the order of decisions.

    `settle` is told the mixture after each decision, so that weights and norms can follow it.
    """

    score: Score
    settle: Callable[[Architecture], None] = lambda left: None
    seed: int = 0


class Place(NamedTuple):
    """One mixture to decide: the edge number `edge` of cells that share it, or with `edge` None a cell's inputs.

    `fabrics` are several where parts share their mixtures.
    """

    fabrics: tuple[str, ...]
    sites: tuple[str, ...]
    edge: int | None

    def candidates(self, genotypes: Mapping[str, Genotype]) -> tuple[str, ...]:
        """The choices that count for anything in one of its cells, in the order of the mixture."""
        mixtures = [self.weights(genotypes[name].cells[site]) for name in self.fabrics for site in self.sites]
        return tuple(dict.fromkeys(name for mixed in mixtures for name, weight in mixed.items() if weight > 0))

    def most(self, settings: SearchSettings) -> int:
        """How many of them a derived net keeps."""
        return settings.max_inputs if self.edge is None else 1

    def weights(self, cell: CellChoice) -> Mapping[str, float]:
        return cell.inputs if self.edge is None else cell.edges[self.edge]

    def changed(self, genotypes: Genotypes, change: Callable[[Mapping[str, float]], dict[str, float]]) -> Genotypes:
        """Genotypes with another mixture here."""
        return {**genotypes, **{name: self._changed(genotypes[name], change) for name in self.fabrics}}

    def _changed(self, genotype: Genotype, change: Callable[[Mapping[str, float]], dict[str, float]]) -> Genotype:
        cells = dict(genotype.cells)
        for site in self.sites:
            weights = change(mixed) if (mixed := self.weights(cells[site])) else {}
            if self.edge is None:
                cells[site] = replace(cells[site], inputs=weights)
            else:
                edges = [weights if i == self.edge else edge for i, edge in enumerate(cells[site].edges)]
                cells[site] = replace(cells[site], edges=tuple(edges))
        return Genotype(cells)


def by_removal(found: Architecture, settings: SearchSettings, judge: Judge) -> Architecture:
    """The mixture whose strongest choices are those that hurt most when they are removed.

    The logarithm of a choice's weight is what its removal costs, as a share of the largest difference within any one
    mixture. A mixture that was not judged keeps its weights: it has one candidate, no more inputs than are kept
    anyway (unless a budget has to rank them), or by then nothing reads its cells.
    """
    left = found.all_genotypes()
    losses: dict[Place, dict[str, float]] = {}
    with Progress("perturbation", num_scores(found, settings)) as progress:

        def score_without(place: Place, name: str) -> float:
            progress.advance()
            return _checked(judge.score(found.with_genotypes(_without(left, place, name))))

        for place in _order(found, judge.seed):
            if _is_open(place, left, settings) and _is_read(place, found, left):
                scores = {name: score_without(place, name) for name in place.candidates(left)}
                losses[place] = {name: -score for name, score in scores.items()}
                left = _decided(left, place, sorted(scores, key=lambda name: scores[name])[: place.most(settings)])
                judge.settle(found.with_genotypes(left))
    return found.with_genotypes(_weighed(found.all_genotypes(), losses))


def num_scores(found: Architecture, settings: SearchSettings) -> int:
    """How often `by_removal` asks for a score: once per candidate of every mixture that is open.

    Less often only where, after decisions on inputs, nothing reads a cell any more.
    """
    genotypes = found.all_genotypes()
    places = [place for place in _order(found, 0) if _is_open(place, genotypes, settings)]
    return sum(len(place.candidates(genotypes)) for place in places)


def _order(found: Architecture, seed: int) -> list[Place]:
    """All edges in a random order, then the inputs of all cells in one."""
    edges, inputs = [], []
    fabrics = found.fabrics()
    for names in found.tied():
        space, genotype = fabrics[names[0]]
        sites = [site.name for site in space.sites() if site.name in genotype.cells]
        groups = [tuple(sites)] if space.share_operations else [(site,) for site in sites]
        edges += [Place(names, group, edge) for edge in range(len(space.edges)) for group in groups]
        inputs += [Place(names, (site,), None) for site in sites]
    draw = np.random.default_rng([seed, 2])
    return [places[i] for places in (edges, inputs) for i in draw.permutation(len(places))]


def _is_open(place: Place, left: Genotypes, settings: SearchSettings) -> bool:
    """Whether there is anything to decide, or to rank for a budget."""
    return len(place.candidates(left)) > (1 if settings.budget is not None else place.most(settings))


def _is_read(place: Place, found: Architecture, left: Genotypes) -> bool:
    """Whether one of its cells still leads to the output."""
    read = found.pruned(left)
    return any(site in read[name].cells for name in place.fabrics for site in place.sites)


def _without(left: Genotypes, place: Place, name: str) -> Genotypes:
    """What is left when a candidate is taken out, the other weights unchanged; a cell's last one stays."""
    return place.changed(left, lambda weights: {n: w for n, w in weights.items() if n != name} or dict(weights))


def _decided(left: Genotypes, place: Place, kept: list[str]) -> Genotypes:
    """What is left once only these stay, with the weight 1 that they will have in the derived net."""

    def change(weights: Mapping[str, float]) -> dict[str, float]:
        chosen = [name for name in weights if name in kept] or [max(weights, key=lambda name: weights[name])]
        return dict.fromkeys(chosen, 1.0)

    return place.changed(left, change)


def _weighed(genotypes: Genotypes, losses: Mapping[Place, Mapping[str, float]]) -> Genotypes:
    """The mixtures that were judged with weights by loss, each with the sum of an even mixture."""
    spread = max((max(loss.values()) - min(loss.values()) for loss in losses.values()), default=0.0) or 1.0
    for place, loss in losses.items():
        shares = {name: math.exp((value - max(loss.values())) / spread) for name, value in loss.items()}
        scale = len(shares) / sum(shares.values())
        weights = {name: scale * share for name, share in shares.items()}
        genotypes = place.changed(genotypes, partial(_of, weights))
    return genotypes


def _of(weights: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    return {name: weights.get(name, 0.0) for name in names}


def _checked(score: float) -> float:
    if not math.isfinite(score):
        raise UserError("missing-keypoints", f"the persons to score on give {score}", "persons with labelled keypoints")
    return score
