"""A net within a budget: as many choices of a mixture as fit, the weightiest first.

The least a method keeps comes first, or where that is too dear, the likeliest path per part that can be paid. What is
added then is found by bisection over the ranked choices; a last, partial step fills up with single ones. Widths that
are to be chosen start at the narrowest; a scale's step to its next width is a choice like all others.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from posefabric.architecture import Architecture
from posefabric.backbone import BACKBONE
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype, used_features, used_strides
from posefabric.models.choices import ChoiceCosts
from posefabric.strategies.paths import Price, best_path, log_shares

ENOUGH, EXPECTED = 0.98, 0.90
"""Shares of a budget: where filling up ends, and below which it begins anew from a single dear choice."""

PRICE_STEPS = 24

Genotypes = Mapping[str, Genotype]


class Budget(NamedTuple):
    """The most that a whole net may cost, in MACs or, where it is of time, in nanoseconds.

    `equal`: what the backbone leaves is split evenly among the parts.
    """

    most: int
    equal: bool = False
    of_time: bool = False

    def told(self, amount: int) -> str:
        """An amount of it as people write it."""
        return f"{amount / 1e6:.6f}ms" if self.of_time else f"{amount}"

    def due(self, spent: Mapping[str, int]) -> int:
        """What a net takes of it, given `ChoiceCosts.by_part`; all equal shares are as large as the dearest."""
        if not self.equal:
            return sum(spent.values())
        parts = _parts(spent)
        return spent[BACKBONE] + len(parts) * max(parts)

    def used(self, spent: Mapping[str, int]) -> float:
        """The share of it that a net uses; with equal shares the part that uses the least of its own."""
        if not self.equal:
            return sum(spent.values()) / self.most
        parts = _parts(spent)
        return min(parts) * len(parts) / max(self.most - spent[BACKBONE], 1)


def _parts(spent: Mapping[str, int]) -> list[int]:
    return [macs for name, macs in spent.items() if name != BACKBONE]


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


def fit(costs: ChoiceCosts, least: Kept, preferred: Kept, budget: Budget) -> Kept:
    """Pruned genotypes and widths that a budget pays, with the weights that the mixture gives each choice.

    `least` is kept if it can be paid, then what a method prefers, then all else by weight. A budget below the smallest
    reachable cost raises `UserError("bad-value")` that names it.
    """
    filling = _Filling(costs, budget)
    if not filling.pays(least):
        least = least._replace(genotypes=affordable(costs.at(least.widths), budget))
    ranked = _ranked(costs.architecture, least, preferred)
    kept = filling.filled(least, ranked)
    for choice in ranked:  # a stage of the backbone is dear: what needs it may have to come first
        if budget.used(filling.spent(kept)) >= EXPECTED:
            break
        if not _holds(kept, choice) and filling.pays(base := with_choices(costs, least, [choice])):
            other = filling.filled(base, [further for further in ranked if further != choice])
            kept = max(kept, other, key=filling.cost)
    return kept._replace(genotypes=costs.architecture.pruned(kept.genotypes))


class _Filling(NamedTuple):
    """Adds choices as long as a budget pays for them."""

    costs: ChoiceCosts
    budget: Budget

    def spent(self, kept: Kept) -> dict[str, int]:
        return self.costs.at(kept.widths).by_part(self.costs.architecture.pruned(kept.genotypes))

    def cost(self, kept: Kept) -> int:
        return sum(self.spent(kept).values())

    def pays(self, kept: Kept) -> bool:
        return self.budget.due(self.spent(kept)) <= self.budget.most

    def filled(self, base: Kept, ranked: Ranked) -> Kept:
        """As many of the first choices as fit; then, up to nearly the whole budget, each later one that fits."""

        def first(number: int) -> Kept:
            return with_choices(self.costs, base, ranked[:number])

        number = bisect.bisect_right(range(len(ranked) + 1), False, key=lambda n: not self.pays(first(n))) - 1
        kept = first(number)
        spent = self.spent(kept)
        for choice in ranked[number:]:
            if self.budget.used(spent) >= ENOUGH:
                break
            more = with_choices(self.costs, kept, [choice])
            dearer = self.spent(more)
            if sum(spent.values()) < sum(dearer.values()) and self.budget.due(dearer) <= self.budget.most:
                kept, spent = more, dearer
        return kept


def affordable(costs: ChoiceCosts, budget: Budget) -> dict[str, Genotype]:
    """The likeliest of the nets of one path per part that a budget pays, over all depths of the backbone."""
    candidates, cheapest = [], []
    for strides in _readable(costs.architecture):
        cheapest.append(_due(costs, strides, 1.0, budget))
        if cheapest[-1] > budget.most:
            continue
        weight, step = 1.0, 0.5
        for _ in range(PRICE_STEPS):
            if _due(costs, strides, weight - step, budget) <= budget.most:
                weight -= step
            step /= 2
        candidates.append(_paths(costs, strides, weight))
    if not candidates:
        raise UserError(
            "bad-value",
            f"a budget of {budget.told(budget.most)}{'' if budget.of_time else ' MACs'}",
            f"at least {budget.told(min(cheapest))}, the smallest reachable cost (its backbone counts)",
        )
    return max(candidates, key=lambda paths: _log_likelihood(costs, paths))


def with_choices(costs: ChoiceCosts, kept: Kept, added: Ranked) -> Kept:
    """The same with further choices of the mixture."""
    found = {name: genotype.cells for name, genotype in costs.architecture.all_genotypes().items()}
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
    for name, genotype in architecture.all_genotypes().items():
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


def _due(costs: ChoiceCosts, strides: tuple[int, ...], weight: float, budget: Budget) -> int:
    return budget.due(costs.by_part(costs.architecture.pruned(_paths(costs, strides, weight))))


def _log_likelihood(costs: ChoiceCosts, paths: Genotypes) -> float:
    total = 0.0
    fabrics = costs.architecture.fabrics()
    for name, genotype in costs.architecture.pruned(paths).items():
        for site, cell in genotype.cells.items():
            found = fabrics[name][1].cells[site]
            pairs = ((cell.inputs, found.inputs), *zip(cell.edges, found.edges, strict=True))
            total += sum(log_shares(offered)[choice] for kept, offered in pairs for choice in kept)
    return total
