"""From the mixture a search found to a net: what is kept, and by how much it counts.

Every cell keeps one input and every edge one operation at least, so a net is never empty; `zero` is never kept; ties
go to the first candidate. With a budget a method keeps as much as can be paid (`strategies.fitting`); the rest of it
buys channels (`strategies.widening`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from posefabric.architecture import Architecture
from posefabric.errors import unknown_name
from posefabric.genotype import CellChoice, Genotype
from posefabric.models.choices import ChoiceCosts
from posefabric.settings import SearchSettings
from posefabric.space import SearchSpace
from posefabric.strategies.cost import budget_of, costs_in
from posefabric.strategies.fitting import Budget, Kept, affordable, fit
from posefabric.strategies.paths import best_path
from posefabric.strategies.perturbation import Judge, by_removal
from posefabric.strategies.widening import spend

Choice = Callable[[Mapping[str, float], SearchSettings], dict[str, float]]
Keep = Callable[[SearchSpace, Genotype, SearchSettings], Genotype]


@dataclass(frozen=True)
class Method:
    """`keep`: what stays of one fabric, not yet pruned; `least`: where a budget leaves no more.

    `weighted`: what stays keeps its multiplier; else it counts as 1. `judged`: the mixture is first weighed by what the
    removal of each choice costs (`strategies.perturbation`).
    """

    keep: Keep
    least: Keep
    weighted: bool = False
    judged: bool = False


def derive(found: Architecture, method: str, settings: SearchSettings, judge: Judge | None = None) -> Architecture:
    """The net that a method keeps of a mixture, within `settings.budget` if there is one.

    A method that judges needs a `judge`. An unknown method, and a budget that nothing fits in, raise `UserError`.
    """
    chosen = derivation(method)
    if chosen.judged:
        assert judge is not None, f"{method} needs a judge"
        check_budget(found, settings)  # told now, not after everything was judged
        found = by_removal(found, settings, judge)
    genotypes = {name: chosen.keep(space, mixed, settings) for name, (space, mixed) in found.fabrics().items()}
    kept = Kept(genotypes, strongest_widths(found))
    if settings.budget is not None:
        costs = costs_in(settings, found)
        genotypes = {name: chosen.least(space, mixed, settings) for name, (space, mixed) in found.fabrics().items()}
        least = Kept(genotypes, narrowest_widths(found))
        budget = budget_in(settings, costs)
        kept = fit(costs, least, kept, budget)
        spent = costs.at(kept.widths).by_part(kept.genotypes)
    if not chosen.weighted:
        kept = kept._replace(genotypes={name: _even(genotype) for name, genotype in kept.genotypes.items()})
    derived = found.with_genotypes(kept.genotypes).with_widths(kept.widths).deployed()
    if settings.budget is None:
        return derived
    return spend(derived, spent, budget, widen=settings.widen and not budget.of_time)


def budget_in(settings: SearchSettings, costs: ChoiceCosts) -> Budget:
    """The budget of a search's settings, given what its supernet costs."""
    return Budget(budget_of(settings, costs), settings.budget_shares == "equal", settings.cost_unit == "latency")


def above_threshold(weights: Mapping[str, float], settings: SearchSettings) -> dict[str, float]:
    """Choices whose share of the kept mixture is above the threshold, with their multipliers unchanged.

    At threshold 0 this is the paper's pruning of exact zeros (section IV-D).
    """
    total = sum(weights.values())
    kept = {name: weight for name, weight in weights.items() if weight > settings.threshold * total}
    return kept or strongest(weights, settings)


def strongest_inputs(weights: Mapping[str, float], settings: SearchSettings) -> dict[str, float]:
    """The `max_inputs` strongest inputs, those of weight 0 left out."""
    kept = {name: weight for name, weight in _by_weight(weights)[: settings.max_inputs] if weight > 0}
    return kept or strongest(weights, settings)


def strongest(weights: Mapping[str, float], settings: SearchSettings) -> dict[str, float]:
    """The strongest choice."""
    return dict(_by_weight(weights)[:1])


def strongest_widths(found: Architecture) -> dict[str, dict[int, int]]:
    """Fabric -> stride -> the channels with the largest share; of equals the fewest."""
    chosen: dict[str, dict[int, int]] = {}
    for fabric, strides in found.width_shares.items():
        choices = found.width_choices(fabric)
        chosen[fabric] = {s: choices[s][shares.index(max(shares))] for s, shares in strides.items()}
    return chosen


def narrowest_widths(found: Architecture) -> dict[str, dict[int, int]]:
    """Fabric -> stride -> the fewest channels, where they are to be chosen."""
    return {
        fabric: {stride: found.width_choices(fabric)[stride][0] for stride in strides}
        for fabric, strides in found.width_shares.items()
    }


def in_every_cell(keep_inputs: Choice, keep_operations: Choice) -> Keep:
    """The same rule for all cells, each by itself."""

    def keep(space: SearchSpace, genotype: Genotype, settings: SearchSettings) -> Genotype:
        return Genotype(
            {
                site: CellChoice(
                    inputs=keep_inputs(cell.inputs, settings),
                    edges=tuple(keep_operations(edge, settings) for edge in cell.edges),
                )
                for site, cell in genotype.cells.items()
            }
        )

    return keep


def along_the_path(space: SearchSpace, genotype: Genotype, settings: SearchSettings) -> Genotype:
    """The likeliest path to every output, and the strongest operation on its edges."""
    return best_path(space, genotype)


METHODS: dict[str, Method] = {
    "threshold": Method(
        in_every_cell(above_threshold, above_threshold), in_every_cell(strongest, strongest), weighted=True
    ),
    "argmax": Method(in_every_cell(strongest_inputs, strongest), in_every_cell(strongest, strongest)),
    "path": Method(along_the_path, along_the_path),
    "perturbation": Method(
        in_every_cell(strongest_inputs, strongest), in_every_cell(strongest, strongest), judged=True
    ),
}
"""Name -> method; `methods.DERIVATIONS` says what each does."""


def derivation(name: str) -> Method:
    """A method by name. An unknown name raises `UserError`."""
    if name not in METHODS:
        raise unknown_name("derivation method", name, tuple(METHODS))
    return METHODS[name]


def by_mixture(name: str) -> str:
    """The method that asks for no scores: itself, or `argmax`, which keeps as many choices as one that judges."""
    return "argmax" if derivation(name).judged else name


def check_derivation(whole: Architecture, settings: SearchSettings) -> None:
    """Raise what `derive` would for any mixture of a supernet: an unknown method, a budget that nothing fits in."""
    derivation(settings.derive)
    check_budget(whole, settings)


def check_budget(whole: Architecture, settings: SearchSettings) -> None:
    """A budget that no net of a mixture fits in raises `UserError` with the smallest reachable cost."""
    if settings.budget is not None:
        costs = costs_in(settings, whole)
        affordable(costs.at(narrowest_widths(whole)), budget_in(settings, costs))


def file_name(method: str, settings: SearchSettings) -> str:
    """What a run folder calls a derived net: `<method>` or `<method>-<budget>`."""
    return method if settings.budget is None else f"{method}-{settings.budget}"


def _by_weight(weights: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(weights.items(), key=lambda choice: -choice[1])


def _even(genotype: Genotype) -> Genotype:
    return Genotype(
        {
            site: CellChoice(dict.fromkeys(cell.inputs, 1.0), tuple(dict.fromkeys(edge, 1.0) for edge in cell.edges))
            for site, cell in genotype.cells.items()
        }
    )
