"""Where the mixing weights come from, and the one home of every scaling convention of the mix.

A mixing is a module that answers, for all cells of one fabric at once, by how much each input and each operation is
multiplied. The net does not know whether the numbers are learned or fixed. In the paper's code a mixture of n choices
is scaled by n, so that equal logits give every choice the weight 1 (PNFS section III-B; the factor is not in the text).
A sample is not scaled: a choice that is drawn alone has the weight 1, as it will have in a net derived by argmax.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posefabric.genotype import CellChoice, Genotype, upstream, used_scales
from posefabric.models.slimming import Shares
from posefabric.space import SHARED, ZERO, SearchSpace

Weight = Tensor | float


class CellWeights(NamedTuple):
    """The multipliers of one cell: slot -> weight, and per edge operation -> weight. What is not named is not run.

    `skip` is that of the input of every edge, beside its operations: an auxiliary skip, 0 but in a search (DARTS-).
    """

    inputs: Mapping[str, Weight]
    edges: tuple[Mapping[str, Weight], ...]
    skip: float = 0.0


class Mixing(nn.Module):
    """`mixing()` gives site name -> `CellWeights`; a site that is not named is not run."""

    def forward(self) -> dict[str, CellWeights]:
        raise TypeError(f"{type(self).__name__} must say where its weights come from")

    def width_shares(self) -> Shares:
        """Stride -> share of each of its widths, narrowest first; empty where widths are decided."""
        return {}


class FixedMixing(Mixing):
    """The stored multipliers of a genotype and shares of widths, unchanged; no parameters."""

    def __init__(self, genotype: Genotype, width_shares: Shares | None = None) -> None:
        super().__init__()
        self._width_shares = width_shares or {}
        self.weights = _stored(genotype)

    def forward(self) -> dict[str, CellWeights]:
        return self.weights

    def width_shares(self) -> Shares:
        return self._width_shares


class SampledMixing(FixedMixing):
    """One net of a supernet after the other, nothing else being run; in between every choice has an equal share.

    No parameters: what is kept of the supernet is decided by others.
    """

    def __init__(self, genotype: Genotype, width_shares: Shares | None = None) -> None:
        super().__init__(genotype, width_shares)
        self._equal_widths = self._width_shares
        self._equal = self.weights = {
            site: CellWeights(_equal_shares(cell.inputs), tuple(map(_equal_shares, cell.edges)))
            for site, cell in genotype.cells.items()
        }

    def follow(self, genotype: Genotype, width_shares: Shares | None = None) -> None:
        """Every forward pass from here on is that of a net: its choices with their multipliers, and its widths."""
        self.weights, self._width_shares = _stored(genotype), width_shares or {}

    def forget(self) -> None:
        """Back to equal shares."""
        self.weights, self._width_shares = self._equal, self._equal_widths


class SoftmaxMixing(Mixing):
    """Trained logits over all choices of a supernet's cells: n * softmax(alpha) per edge, n * softmax(beta) per cell.

    `alpha` holds one (edges, operations) table, `shared`, or one per site; `beta` one vector per site in the order of
    its sources. Where the space has several widths, `width` holds one vector per stride; its softmax is their shares.
    All start at 0: the uniform mixture. `auxiliary_skip` is the weight of the edges' inputs while a search learns
    (`strategies.auxiliary`).
    """

    def __init__(self, space: SearchSpace, genotype: Genotype) -> None:
        super().__init__()
        self.space = space
        self.operations = self.candidates()
        self.sites = [site for site in space.sites() if site.name in genotype.cells]
        self.auxiliary_skip = 0.0
        tables = [SHARED] if space.share_operations else [site.name for site in self.sites]
        shape = (len(space.edges), len(self.operations))
        self.alpha = nn.ParameterDict([(name, nn.Parameter(torch.zeros(shape))) for name in tables])
        self.beta = nn.ParameterDict([(site.name, nn.Parameter(torch.zeros(len(site.sources)))) for site in self.sites])
        strides = used_scales(space, genotype) if space.several_widths else ()
        self.width = nn.ParameterDict(
            [(str(stride), nn.Parameter(torch.zeros(len(space.width_multipliers)))) for stride in strides]
        )

    def candidates(self) -> tuple[str, ...]:
        """The operations that have a logit, in the order of alpha's columns."""
        return self.space.operations

    def forward(self) -> dict[str, CellWeights]:
        edges = {name: self._edges(f"alpha.{name}", alpha) for name, alpha in self.alpha.items()}
        return {
            site.name: CellWeights(
                inputs=self._kept(
                    [source.slot for source in site.sources],
                    self._weights(f"beta.{site.name}", self.beta[site.name]),
                ),
                edges=edges[SHARED if self.space.share_operations else site.name],
                skip=self.auxiliary_skip,
            )
            for site in self.sites
        }

    def width_shares(self) -> dict[int, Tensor]:
        return {int(stride): self._shares(f"width.{stride}", logits) for stride, logits in self.width.items()}

    def _edges(self, name: str, alpha: Tensor) -> tuple[dict[str, Weight], ...]:
        kept = [self._kept(self.operations, row) for row in self._weights(name, alpha)]
        return tuple({operation: w for operation, w in edge.items() if operation != ZERO} for edge in kept)

    def _weights(self, name: str, logits: Tensor) -> Tensor:
        """The multipliers that logits of that name stand for."""
        return logits.shape[-1] * self._shares(name, logits)

    def _shares(self, name: str, logits: Tensor) -> Tensor:
        """The shares, adding up to 1, that logits of that name stand for."""
        return softmax(logits)

    def _kept(self, names: Sequence[str], weights: Tensor) -> dict[str, Weight]:
        """Which choices of one mixture are run."""
        return dict(zip(names, weights, strict=True))


class GumbelMixing(SoftmaxMixing):
    """Trained logits whose choices are drawn; between draws the mean of the draws applies, softmax(logits).

    With Gumbel noise g a draw is q = softmax((log_softmax(logits) + g) / temperature): all of q where it is soft
    (SNAS), or where it is `hard` the largest alone with the weight 1 and the gradient of q (GDAS), so that one
    operation per edge and one input per cell are run, and only cells on the way to the output. A width that is drawn
    hard is a mask of zeros and ones: its other channels are run in vain.

    `zero` has no logit here: a path with it computes nothing, and no derivation keeps it.
    """

    def __init__(self, space: SearchSpace, genotype: Genotype, *, hard: bool) -> None:
        super().__init__(space, genotype)
        self.hard = hard
        self.temperature = 1.0
        self._noise: dict[str, Tensor] = {}

    def candidates(self) -> tuple[str, ...]:
        return tuple(name for name in self.space.operations if name != ZERO)

    def draw(self, random: np.random.Generator, temperature: float) -> None:
        """Every forward pass from here on applies one new draw."""
        self.temperature = temperature
        self._noise = {
            name: torch.as_tensor(random.gumbel(size=logits.shape), dtype=torch.float32, device=logits.device)
            for name, logits in self.named_parameters()
        }

    def forget(self) -> None:
        """Back to the mean."""
        self._noise = {}

    def forward(self) -> dict[str, CellWeights]:
        found = super().forward()
        if not (self._noise and self.hard):
            return found
        outputs = {site.name for site in self.space.outputs()} & found.keys()
        run = upstream(self.space, {name: cell.inputs for name, cell in found.items()}, outputs)
        return {name: cell for name, cell in found.items() if name in run}

    def _weights(self, name: str, logits: Tensor) -> Tensor:
        return self._shares(name, logits)

    def _shares(self, name: str, logits: Tensor) -> Tensor:
        if not self._noise:
            return softmax(logits)
        shares = softmax((log_softmax(logits) + self._noise[name]) / self.temperature)
        if not self.hard:
            return shares
        largest = F.one_hot(shares.argmax(dim=-1), shares.shape[-1])
        return largest + (shares - shares.detach())

    def _kept(self, names: Sequence[str], weights: Tensor) -> dict[str, Weight]:
        if not (self._noise and self.hard):
            return super()._kept(names, weights)
        largest = int(weights.argmax())
        return {names[largest]: weights[largest]}


def _stored(genotype: Genotype) -> dict[str, CellWeights]:
    return {site: CellWeights(cell.inputs, cell.edges) for site, cell in genotype.cells.items()}


def _equal_shares(choices: Collection[str]) -> dict[str, Weight]:
    return dict.fromkeys(choices, 1 / max(len(choices), 1))


def softmax(logits: Tensor) -> Tensor:
    """Over the last axis, in float32 at least."""
    return torch.softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))


def log_softmax(logits: Tensor) -> Tensor:
    """Over the last axis, in float32 at least."""
    return torch.log_softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))


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
