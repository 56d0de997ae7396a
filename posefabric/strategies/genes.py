"""Single nets of a search space as genes: a flat table of choices that is drawn, mutated and built from.

A net keeps one operation per edge, per cell one input or several, and where widths are chosen one per scale. With
`share_operations` the cells of a fabric have the genes of their edges in common, with `share_parts` all parts have all
genes in common: those under the name of the first. Whatever else may be chosen becomes a
further gene here and nowhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from posefabric.architecture import Architecture
from posefabric.genotype import CellChoice, Genotype
from posefabric.space import SHARED, ZERO, SearchSpace

Kept = tuple[str, ...]
"""What one choice keeps of its options, in their order."""

Genome = Mapping[str, Kept]
"""Name of the gene -> what it keeps."""


@dataclass(frozen=True)
class Gene:
    """One choice: of up to `most` of its `options`, and of one at least."""

    name: str
    options: Kept
    most: int = 1

    @cached_property
    def values(self) -> tuple[Kept, ...]:
        """Everything that may be kept, the fewest first."""
        sizes = range(1, self.most + 1)
        return tuple(kept for size in sizes for kept in itertools.combinations(self.options, size))

    def draw(self, random: np.random.Generator, fullness: float, first: str | None = None) -> Kept:
        """Some of the options at random, `first` among them if named: one alone at fullness 0, all of `most` at 1."""
        count = 1 + random.binomial(self.most - 1, fullness)
        order = random.permutation(self.options).tolist()
        kept = set(sorted(order, key=lambda option: option != first)[:count])
        return tuple(option for option in self.options if option in kept)


class Genes:
    """The genes of all fabrics of a supernet; a cell keeps at most `most_inputs` inputs (0: as many as it has)."""

    def __init__(self, supernet: Architecture, most_inputs: int = 0) -> None:
        self.supernet = supernet
        self.table: dict[str, Gene] = {}
        self._owners = {fabric: group[0] for group in supernet.tied() for fabric in group}
        for fabric, (space, whole) in supernet.fabrics().items():
            if self._owners[fabric] != fabric:
                continue
            operations = tuple(name for name in space.operations if name != ZERO)
            for site in [SHARED] if space.share_operations else whole.cells:
                for edge in range(len(space.edges)):
                    self._add(Gene(f"{fabric}.{site}.{edge}", operations))
            for site, cell in whole.cells.items():
                count = len(cell.inputs)
                self._add(Gene(f"{fabric}.{site}.inputs", tuple(cell.inputs), min(most_inputs or count, count)))
            for stride in supernet.width_shares.get(fabric, {}):
                channels = dict.fromkeys(supernet.width_choices(fabric)[stride])
                self._add(Gene(f"{fabric}.width.{stride}", tuple(map(str, channels))))

    def _add(self, gene: Gene) -> None:
        self.table[gene.name] = gene

    def draw(self, random: np.random.Generator, first: Mapping[str, str] | None = None) -> Genome:
        """A random net. How full its cells are is drawn once for all, so that cheap and dear nets are as likely.

        `first` names options that their genes must keep.
        """
        fullness, wanted = random.random(), first or {}
        return {name: gene.draw(random, fullness, wanted.get(name)) for name, gene in self.table.items()}

    def in_turn(self, seed: int, step: int) -> dict[str, str]:
        """An option of every gene for a step: in as many steps as a gene has options, each has its turn once."""
        turns = {}
        for number, (name, gene) in enumerate(self.table.items()):
            round_, position = divmod(step, len(gene.options))
            order = np.random.default_rng([seed, number, round_]).permutation(len(gene.options))
            turns[name] = gene.options[order[position]]
        return turns

    def mutated(self, genome: Genome, random: np.random.Generator) -> Genome:
        """The same but for one gene, which keeps something else."""
        free = [name for name, gene in self.table.items() if len(gene.values) > 1]
        name = free[random.integers(len(free))]
        others = [kept for kept in self.table[name].values if kept != genome[name]]
        return {**genome, name: others[random.integers(len(others))]}

    def genotypes(self, genome: Genome) -> dict[str, Genotype]:
        """What every fabric keeps, each choice with the weight 1; pruned."""
        return self.supernet.pruned(
            {
                fabric: _fabric(self._owners[fabric], space, whole, genome)
                for fabric, (space, whole) in self.supernet.fabrics().items()
            }
        )

    def widths(self, genome: Genome) -> dict[str, dict[int, int]]:
        """Fabric -> stride -> channels, where widths are chosen."""
        return {
            fabric: {stride: int(genome[f"{self._owners[fabric]}.width.{stride}"][0]) for stride in strides}
            for fabric, strides in self.supernet.width_shares.items()
        }


def _fabric(name: str, space: SearchSpace, whole: Genotype, genome: Genome) -> Genotype:
    def edges(site: str) -> tuple[dict[str, float], ...]:
        return tuple(dict.fromkeys(genome[f"{name}.{site}.{edge}"], 1.0) for edge in range(len(space.edges)))

    shared = edges(SHARED) if space.share_operations else None
    return Genotype(
        {
            site: CellChoice(dict.fromkeys(genome[f"{name}.{site}.inputs"], 1.0), shared or edges(site))
            for site in whole.cells
        }
    )
