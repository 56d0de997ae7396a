"""Where the mixing weights come from, and the one home of every scaling convention of the mix.

A mixing is a module that answers, for all cells of one fabric at once, by how much each input and each operation is
multiplied. The net does not know whether the numbers are learned or fixed. In the paper's code a mixture of n choices
is scaled by n, so that equal logits give every choice the weight 1 (PNFS section III-B; the factor is not in the text).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from posefabric.genotype import CellChoice, Genotype
from posefabric.space import ZERO, SearchSpace

Weight = Tensor | float


class CellWeights(NamedTuple):
    """The multipliers of one cell: slot -> weight, and per edge operation -> weight."""

    inputs: Mapping[str, Weight]
    edges: tuple[Mapping[str, Weight], ...]


class Mixing(nn.Module):
    """`mixing()` gives site name -> `CellWeights`."""

    def forward(self) -> dict[str, CellWeights]:
        raise TypeError(f"{type(self).__name__} must say where its weights come from")


class FixedMixing(Mixing):
    """The stored multipliers of a genotype, unchanged; no parameters."""

    def __init__(self, genotype: Genotype) -> None:
        super().__init__()
        self.weights = {name: CellWeights(cell.inputs, cell.edges) for name, cell in genotype.cells.items()}

    def forward(self) -> dict[str, CellWeights]:
        return self.weights


class SoftmaxMixing(Mixing):
    """Trained logits over all choices of a supernet's cells: n * softmax(alpha) per edge, n * softmax(beta) per cell.

    `alpha` holds one (edges, operations) table, `shared`, or one per site; `beta` one vector per site in the order of
    its sources. All start at 0: the uniform mixture.
    """

    SHARED = "shared"

    def __init__(self, space: SearchSpace, genotype: Genotype) -> None:
        super().__init__()
        self.space = space
        self.sites = [site for site in space.sites() if site.name in genotype.cells]
        tables = [self.SHARED] if space.share_operations else [site.name for site in self.sites]
        shape = (len(space.edges), len(space.operations))
        self.alpha = nn.ParameterDict([(name, nn.Parameter(torch.zeros(shape))) for name in tables])
        self.beta = nn.ParameterDict([(site.name, nn.Parameter(torch.zeros(len(site.sources)))) for site in self.sites])

    def forward(self) -> dict[str, CellWeights]:
        edges = {name: self._edges(alpha) for name, alpha in self.alpha.items()}
        return {
            site.name: CellWeights(
                inputs=dict(
                    zip(
                        [source.slot for source in site.sources],
                        scaled_softmax(self.beta[site.name]),
                        strict=True,
                    )
                ),
                edges=edges[self.SHARED if self.space.share_operations else site.name],
            )
            for site in self.sites
        }

    def _edges(self, alpha: Tensor) -> tuple[dict[str, Weight], ...]:
        return tuple(
            {name: w for name, w in zip(self.space.operations, row, strict=True) if name != ZERO}
            for row in scaled_softmax(alpha)
        )


def scaled_softmax(logits: Tensor) -> Tensor:
    """Number of choices x softmax over the last axis, in float32."""
    return logits.shape[-1] * torch.softmax(logits.float(), dim=-1)


def as_genotype(weights: Mapping[str, CellWeights]) -> Genotype:
    """A mixture as it stands, as data: every input and operation with its multiplier."""
    return Genotype(
        {
            site: CellChoice(
                inputs={slot: float(w) for slot, w in cell.inputs.items()},
                edges=tuple({name: float(w) for name, w in edge.items()} for edge in cell.edges),
            )
            for site, cell in weights.items()
        }
    )
