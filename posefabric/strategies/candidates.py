"""Single nets to choose from: drawn at random, inside the band of a budget where there is one.

They are what random search compares, what evolution begins with, and the baseline that every other search must beat:
same space, same budget, seeds listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.budget import budget_macs
from posefabric.genotype import CellChoice, Genotype
from posefabric.models.choices import ChoiceCosts, choice_costs
from posefabric.models.cost import count
from posefabric.models.net import mixed, softmax_mixings
from posefabric.progress import Progress
from posefabric.settings import SearchSettings
from posefabric.strategies.derive import derive
from posefabric.strategies.genes import Genes, Genome
from posefabric.strategies.protocol import Score

LEAST = 0.95
"""Where the band below a budget begins, as a share of it."""

TRIES = 1000
"""How many draws outside the band are rejected before a net is made to fit."""

STREAM = 3
"""Keeps these draws apart from others of the same seed."""

RECORDED = ("backbone", "genotypes", "widths")
"""What of an architecture differs between candidates."""


class Band(NamedTuple):
    """MACs from `least` to `most`."""

    least: int
    most: int

    def holds(self, macs: int) -> bool:
        return self.least <= macs <= self.most

    @staticmethod
    def below(budget: str, whole: int) -> Band:
        """From 95 % of a budget up to it; `whole`: what the supernet costs."""
        most = budget_macs(budget, whole)
        return Band(math.ceil(LEAST * most), most)


@dataclass(frozen=True)
class Candidate:
    """A net, its MACs, and where it comes from; no `genome` if it was made to fit."""

    architecture: Architecture
    macs: int
    origin: Mapping[str, Any]
    genome: Genome | None = None

    def data_form(self) -> dict[str, Any]:
        """Plain data, as recorded in a run folder."""
        data = documents.to_data(self.architecture)
        return {**self.origin, "macs": self.macs, **{key: data[key] for key in RECORDED}}


class Pool:
    """The single nets of a supernet, and the band that a budget leaves of them.

    A cell keeps at most `most_inputs` inputs (0: as many as it has), an edge one operation.
    """

    def __init__(self, supernet: Architecture, budget: str | None = None, most_inputs: int = 0) -> None:
        self.supernet, self.genes = supernet, Genes(supernet, most_inputs)
        self.band = None if budget is None else Band.below(budget, self._costs.whole)

    @cached_property
    def _costs(self) -> ChoiceCosts:
        return choice_costs(self.supernet)

    def holds(self, macs: int) -> bool:
        """Whether they are in the band."""
        return self.band is None or self.band.holds(macs)

    def macs(self, genome: Genome) -> int:
        """Those of the net of a genome."""
        return self._costs.at(self.genes.widths(genome)).macs(self.genes.genotypes(genome))

    def build(self, genome: Genome, origin: Mapping[str, Any]) -> Candidate:
        """The net of a genome, in the band or not."""
        genotypes, widths = self.genes.genotypes(genome), self.genes.widths(genome)
        architecture = self.supernet.with_genotypes(genotypes).with_widths(widths)
        return Candidate(architecture, self.macs(genome), origin, genome)

    def draw(self, seed: int, number: int) -> Candidate:
        """Random net `number` of a seed: drawn until it is in the band, or in the end made to fit."""
        random = np.random.default_rng([seed, number, STREAM])
        origin = {"seed": seed, "draw": number}
        for _ in range(TRIES):
            genome = self.genes.draw(random)
            if self.holds(self.macs(genome)):
                return self.build(genome, origin)
        return self._fitted(random, {**origin, "fitted": True})

    def _fitted(self, random: np.random.Generator, origin: Mapping[str, Any]) -> Candidate:
        """What the budget pays of a random mixture, in the supernet's own space and widths: it inherits all it has."""
        assert self.band is not None
        settings = SearchSettings(budget=str(self.band.most), widen=False)
        fitted = derive(_random_mixture(self.supernet, random), "argmax", settings)
        widths = {fabric: fitted.channels(fabric) for fabric in self.supernet.width_shares}
        architecture = self.supernet.with_genotypes(fitted.all_genotypes()).with_widths(widths)
        return Candidate(architecture, count(fitted).macs, origin)


def random_genotypes(
    supernet: Architecture, number: int, seed: int, budget: str | None = None, most_inputs: int = 0
) -> list[Candidate]:
    """So many random nets of a supernet: one operation per edge, at most `most_inputs` inputs per cell (0: all).

    With a budget draws are repeated until a net costs 95 to 100 % of it; after a thousand draws the net is derived by
    argmax from random alpha and beta under the budget, as a search would derive it. Draw i depends on seed and i alone,
    so fewer nets are the first ones of more. A budget below the smallest reachable cost raises `UserError`.
    """
    pool = Pool(supernet, budget, most_inputs)
    return [pool.draw(seed, i) for i in range(number)]


class Contest:
    """Scores candidates one after the other, records them, and remembers the best inside the band; of equals the first.

    One that was made to fit may win wherever choices alone left it. A net that has competed keeps its score and is not
    counted again.
    """

    def __init__(self, score: Score, record: Callable[[Mapping[str, Any]], None], pool: Pool, entrants: int) -> None:
        self._score, self._record, self._pool = score, record, pool
        self._progress = Progress("candidates", entrants)
        self._scores: dict[str, float] = {}
        self._best: tuple[float, Candidate] | None = None

    def __enter__(self) -> Contest:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    def __len__(self) -> int:
        return len(self._scores)

    def enter(self, candidate: Candidate) -> float:
        """The candidate's score."""
        name = documents.to_json(candidate.architecture)
        if name not in self._scores:
            value = self._scores[name] = self._score(candidate.architecture)
            self._record({**candidate.data_form(), "score": value})
            self._progress.advance(loss=-value)
            may_win = self._pool.holds(candidate.macs) or candidate.genome is None
            if may_win and (self._best is None or value > self._best[0]):
                self._best = value, candidate
        return self._scores[name]

    @property
    def winner(self) -> Candidate:
        assert self._best is not None
        return self._best[1]


@torch.no_grad()
def _random_mixture(supernet: Architecture, random: np.random.Generator) -> Architecture:
    """Alpha and beta from N(0, 1), as the paper draws them."""
    mixings = softmax_mixings(supernet)
    for mixing in mixings.values():
        for logits in mixing.parameters():
            logits.copy_(torch.as_tensor(random.normal(size=logits.shape)))
    return mixed(supernet, mixings)


def as_mixture(supernet: Architecture, chosen: Architecture) -> Architecture:
    """A net as what a search finds: the supernet, in which what the net keeps has the weight 1 and all else 0."""
    kept = chosen.all_genotypes()
    found = supernet.with_genotypes(
        {name: _decided(whole, kept[name]) for name, whole in supernet.all_genotypes().items()}
    )
    widths = {fabric: chosen.channels(fabric) for fabric in supernet.width_shares}
    return replace(found, width_shares=decided_shares(supernet, widths))


def decided_shares(
    supernet: Architecture, widths: Mapping[str, Mapping[int, int]]
) -> dict[str, dict[int, tuple[float, ...]]]:
    """The shares of a supernet's widths where it is certain of some; of equal ones the first."""
    shares: dict[str, dict[int, tuple[float, ...]]] = {}
    for fabric, strides in supernet.width_shares.items():
        choices = supernet.width_choices(fabric)
        kept = {stride: choices[stride].index(widths[fabric][stride]) for stride in strides}
        shares[fabric] = {s: tuple(float(i == kept[s]) for i in range(len(choices[s]))) for s in strides}
    return shares


def _decided(whole: Genotype, kept: Genotype) -> Genotype:
    nothing = CellChoice({}, tuple({} for _ in next(iter(whole.cells.values())).edges))
    cells = {}
    for site, offered in whole.cells.items():
        cell = kept.cells.get(site, nothing)
        edges = zip(offered.edges, cell.edges, strict=True)
        cells[site] = CellChoice(_weights(offered.inputs, cell.inputs), tuple(_weights(o, k) for o, k in edges))
    return Genotype(cells)


def _weights(offered: Collection[str], kept: Collection[str]) -> dict[str, float]:
    return {name: float(name in kept) for name in offered}
