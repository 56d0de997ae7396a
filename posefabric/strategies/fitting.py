"""A net within a budget: as many choices of a mixture as fit, the weightiest first.

The least a method keeps comes first, or where that is too dear, the likeliest path per part that can be paid. What is
added then is found by bisection over the ranked choices; a last, partial step fills up with single ones. Widths that
are to be chosen start at the narrowest; a scale's step to its next width is a choice like all others.
"""

from __future__ import annotations

import bisect
import itertools
import logging
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from posefabric.architecture import BACKBONE, Architecture
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype, used_features, used_strides
from posefabric.models.choices import ChoiceCosts
from posefabric.strategies.paths import Price, best_path, log_shares

logger = logging.getLogger(__name__)

ENOUGH, EXPECTED = 0.98, 0.90
"""Shares of a budget: where filling up ends, and below which a net is said to fall short."""

PRICE_STEPS = 24

Genotypes = Mapping[str, Genotype]


class Choice(NamedTuple):
    """One input of a cell, or one operation on its edge number `edge`."""

    fabric: str
    site: str
    edge: int | None
    name: str


class WidthStep(NamedTuple):
    """A scale of a fabric is at least so wide."""

    fabric: str
    stride: int
    channels: int


class Kept(NamedTuple):
    """What is kept of a mixture, not yet pruned; `widths`: fabric -> stride -> channels, of all that are chosen."""

    genotypes: Genotypes
    widths: Mapping[str, Mapping[int, int]]


Ranked = list[Choice | WidthStep]


def fit(costs: ChoiceCosts, least: Kept, preferred: Kept, budget: int) -> Kept:
    """Pruned genotypes and widths that cost at most `budget` MACs, with the weights that the mixture gives each choice.

    `least` is kept if it can be paid, then what a method prefers, then all else by weight. A budget below the smallest
    reachable cost raises `UserError("bad-value")` that names it.
    """
    filling = _Filling(costs, budget)
    if filling.cost(least) > budget:
        least = least._replace(genotypes=affordable(costs.at(least.widths), budget))
    ranked = _ranked(costs.architecture, least, preferred)
    kept = filling.filled(least, ranked)
    for choice in ranked:  # a stage of the backbone is dear: what needs it may have to come first
        if filling.cost(kept) >= EXPECTED * budget:
            break
        if not _holds(kept, choice) and filling.cost(base := with_choices(costs, least, [choice])) <= budget:
            other = filling.filled(base, [further for further in ranked if further != choice])
            kept = max(kept, other, key=filling.cost)
    filling.tell_if_short(kept)
    return kept._replace(genotypes=costs.architecture.pruned(kept.genotypes))


class _Filling(NamedTuple):
    """Adds choices as long as a budget pays for them."""

    costs: ChoiceCosts
    budget: int

    def cost(self, kept: Kept) -> int:
        return self.costs.at(kept.widths).macs(self.costs.architecture.pruned(kept.genotypes))

    def filled(self, base: Kept, ranked: Ranked) -> Kept:
        """As many of the first choices as fit; then, up to nearly the whole budget, each later one that fits."""

        def first(number: int) -> Kept:
            return with_choices(self.costs, base, ranked[:number])

        number = bisect.bisect_right(range(len(ranked) + 1), self.budget, key=lambda n: self.cost(first(n))) - 1
        kept = first(number)
        for choice in ranked[number:]:
            reached = self.cost(kept)
            if reached >= ENOUGH * self.budget:
                break
            more = with_choices(self.costs, kept, [choice])
            kept = more if reached < self.cost(more) <= self.budget else kept
        return kept

    def tell_if_short(self, kept: Kept) -> None:
        reached = self.cost(kept)
        if reached < EXPECTED * self.budget:
            share = 100 * reached / self.budget
            found = f"the derived net costs {reached} MACs, {share:.0f} % of the budget of {self.budget}"
            logger.warning("%s: no further choice fits, and widths stay", found)


def affordable(costs: ChoiceCosts, budget: int) -> dict[str, Genotype]:
    """The likeliest of the nets of one path per part that a budget pays, over all depths of the backbone."""
    candidates, cheapest = [], []
    for strides in _readable(costs.architecture):
        cheapest.append(_macs_of_paths(costs, strides, 1.0))
        if cheapest[-1] > budget:
            continue
        weight, step = 1.0, 0.5
        for _ in range(PRICE_STEPS):
            if _macs_of_paths(costs, strides, weight - step) <= budget:
                weight -= step
            step /= 2
        candidates.append(_paths(costs, strides, weight))
    if not candidates:
        raise UserError(
            "bad-value",
            f"a budget of {budget} MACs",
            f"at least {min(cheapest)}, the smallest reachable cost (its backbone counts)",
        )
    return max(candidates, key=lambda paths: _log_likelihood(costs, paths))


def with_choices(costs: ChoiceCosts, kept: Kept, added: Ranked) -> Kept:
    """The same with further choices of the mixture."""
    found = {name: genotype.cells for name, (_, genotype) in costs.architecture.fabrics().items()}
    cells = [(f, site, cell) for f, genotype in kept.genotypes.items() for site, cell in genotype.cells.items()]
    inputs = {(f, site): dict(cell.inputs) for f, site, cell in cells}
    edges = {(f, site): [*map(dict, cell.edges)] for f, site, cell in cells}
    widths = {fabric: dict(channels) for fabric, channels in kept.widths.items()}
    for choice in added:
        if isinstance(choice, WidthStep):
            wide = widths[choice.fabric]
            wide[choice.stride] = max(wide[choice.stride], choice.channels)
        elif choice.edge is None:
            inputs[choice[:2]][choice.name] = found[choice.fabric][choice.site].inputs[choice.name]
        else:
            edge = found[choice.fabric][choice.site].edges[choice.edge]
            edges[choice[:2]][choice.edge][choice.name] = edge[choice.name]
    genotypes = {
        fabric: Genotype({s: CellChoice(inputs[fabric, s], tuple(edges[fabric, s])) for s in genotype.cells})
        for fabric, genotype in kept.genotypes.items()
    }
    return Kept(genotypes, widths)


def _ranked(architecture: Architecture, least: Kept, preferred: Kept) -> Ranked:
    """Choices beyond the least: preferred ones first, by weight relative to an even mixture, parts taking turns."""
    keyed = []
    for name, (_, genotype) in architecture.fabrics().items():
        steps = _width_steps(architecture, name)
        choices: Iterator[tuple[Choice | WidthStep, float]] = itertools.chain(_choices(name, genotype), steps)
        for number, (choice, weight) in enumerate(choices):
            if weight > 0 and not _holds(least, choice):
                keyed.append(((not _holds(preferred, choice), -weight, number), choice))
    return [choice for _, choice in sorted(keyed, key=lambda pair: pair[0])]


def _width_steps(architecture: Architecture, fabric: str) -> Iterator[tuple[WidthStep, float]]:
    """Steps, each with twice the share of the widths beyond it: 1 on average for equal shares, and never rising."""
    choices = architecture.width_choices(fabric)
    for stride, shares in architecture.width_shares.get(fabric, {}).items():
        for number, channels in enumerate(choices[stride][1:], start=1):
            yield WidthStep(fabric, stride, channels), 2 * sum(shares[number:])


def _choices(fabric: str, genotype: Genotype) -> Iterator[tuple[Choice, float]]:
    for site, cell in genotype.cells.items():
        for edge, weights in ((None, cell.inputs), *enumerate(cell.edges)):
            total = sum(weights.values()) or 1.0
            for name, weight in weights.items():
                yield Choice(fabric, site, edge, name), weight / total * len(weights)


def _holds(kept: Kept, choice: Choice | WidthStep) -> bool:
    if isinstance(choice, WidthStep):
        return kept.widths[choice.fabric][choice.stride] >= choice.channels
    cell = kept.genotypes[choice.fabric].cells.get(choice.site)
    return cell is not None and choice.name in (cell.inputs if choice.edge is None else cell.edges[choice.edge])


def _readable(architecture: Architecture) -> list[tuple[int, ...]]:
    """Sets of strides to which reading may be restricted so that every part still reads something.

    A named backbone is cut behind the coarsest stride; of one that is a fabric a single stride costs least.
    """
    used = {part: set(used_features(architecture.space, g)) for part, g in architecture.genotypes.items()}
    strides = used_strides(architecture.space, architecture.genotypes)
    cuts = [strides[: i + 1] for i in range(len(strides))]
    if architecture.backbone.space is not None:
        cuts = [*((stride,) for stride in strides), strides]
    return [cut for cut in cuts if all(read & set(cut) for read in used.values())]


def _paths(costs: ChoiceCosts, strides: tuple[int, ...], weight: float) -> dict[str, Genotype]:
    """One path per part at a price, from features of these strides."""
    found, unit = {}, costs.whole / 100
    for name, (space, genotype) in costs.architecture.fabrics().items():
        features = dict.fromkeys(space.input_strides, 0)
        if name != BACKBONE:
            features = {stride: costs.laterals[name][stride] for stride in strides}
        found[name] = best_path(space, genotype, Price(costs.cells[name], features, weight, unit))
    return found


def _macs_of_paths(costs: ChoiceCosts, strides: tuple[int, ...], weight: float) -> int:
    return costs.macs(costs.architecture.pruned(_paths(costs, strides, weight)))


def _log_likelihood(costs: ChoiceCosts, paths: Genotypes) -> float:
    total = 0.0
    fabrics = costs.architecture.fabrics()
    for name, genotype in costs.architecture.pruned(paths).items():
        for site, cell in genotype.cells.items():
            found = fabrics[name][1].cells[site]
            pairs = ((cell.inputs, found.inputs), *zip(cell.edges, found.edges, strict=True))
            total += sum(log_shares(offered)[choice] for kept, offered in pairs for choice in kept)
    return total
