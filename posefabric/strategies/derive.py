"""From the mixture a search found to a net: what is kept, and by how much it counts.

Every cell keeps at least its strongest input and every edge its strongest operation, so a net is never empty; `zero`
is never kept; ties go to the first candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from posefabric.architecture import Architecture
from posefabric.config import SearchSettings
from posefabric.errors import unknown_name
from posefabric.genotype import CellChoice, Genotype

Choice = Callable[[Mapping[str, float], SearchSettings], dict[str, float]]


def derive(found: Architecture, method: str, settings: SearchSettings) -> Architecture:
    """The net that a method keeps of a mixture. An unknown method raises `UserError`."""
    keep_inputs, keep_operations = derivation(method)
    genotypes = {}
    for name, (_, genotype) in found.fabrics().items():
        genotypes[name] = Genotype(
            {
                site: CellChoice(
                    inputs=keep_inputs(cell.inputs, settings),
                    edges=tuple(keep_operations(edge, settings) for edge in cell.edges),
                )
                for site, cell in genotype.cells.items()
            }
        )
    return found.with_genotypes(genotypes)


def above_threshold(weights: Mapping[str, float], settings: SearchSettings) -> dict[str, float]:
    """Choices whose share of the kept mixture is above the threshold, with their multipliers unchanged.

    At threshold 0 this is the paper's pruning of exact zeros (section IV-D).
    """
    total = sum(weights.values())
    kept = {name: weight for name, weight in weights.items() if weight > settings.threshold * total}
    return kept or dict(_strongest(weights, 1))


def strongest_inputs(weights: Mapping[str, float], settings: SearchSettings) -> dict[str, float]:
    """The `max_inputs` strongest inputs, each with the weight 1."""
    return {name: 1.0 for name, _ in _strongest(weights, settings.max_inputs)}


def strongest_operation(weights: Mapping[str, float], settings: SearchSettings) -> dict[str, float]:
    """The strongest operation, with the weight 1."""
    return {name: 1.0 for name, _ in _strongest(weights, 1)}


METHODS: dict[str, tuple[Choice, Choice]] = {
    "threshold": (above_threshold, above_threshold),
    "argmax": (strongest_inputs, strongest_operation),
}
"""Name -> what is kept of a cell's inputs, and of an edge's operations."""


def derivation(name: str) -> tuple[Choice, Choice]:
    """A method by name. An unknown name raises `UserError`."""
    if name not in METHODS:
        raise unknown_name("derivation method", name, tuple(METHODS))
    return METHODS[name]


def _strongest(weights: Mapping[str, float], count: int) -> list[tuple[str, float]]:
    return sorted(weights.items(), key=lambda choice: -choice[1])[:count]
