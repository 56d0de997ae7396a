"""The film of a search: frame by frame, how its mixtures were shared out and what would have been derived of them.

Where it stands in the walk: written beside `metrics.jsonl` while a search runs (`engine.watching`), read by its report.
Every line of the file is one frame; a frame names the fabrics that are told anew, the others are as before. No torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from posefabric import documents
from posefabric.documents import STRICT
from posefabric.genotype import CellChoice, Genotype
from posefabric.runs import Run
from posefabric.space import SHARED, ZERO

FILM = "search.jsonl"
"""The file of a run folder."""

Edges = tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class KeptCell:
    """The names of what a derived net keeps of one cell: its inputs, and of every edge the operations."""

    inputs: tuple[str, ...]
    edges: tuple[tuple[str, ...], ...]

    __pydantic_config__ = STRICT


Kept = Mapping[str, KeptCell]


@dataclass(frozen=True)
class FabricFrame:
    """One fabric at one step.

    `alpha`: table (`"shared"`, or one per site) -> of every edge, operation -> share, `zero` among them; `beta`: site
    -> slot -> share; `widths`: stride -> multiplier -> share, where chosen. Shares of a mixture add up to 1,
    rounded. `kept`: site -> what the search's method would keep; `kept_widths`: stride -> channels.
    """

    alpha: Mapping[str, Edges]
    beta: Mapping[str, Mapping[str, float]]
    kept: Kept
    widths: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    kept_widths: Mapping[str, int] = field(default_factory=dict)

    __pydantic_config__ = STRICT

    def edges(self, site: str) -> Edges:
        """The alphas of one cell."""
        return self.alpha.get(site) or self.alpha[SHARED]

    def mixture(self) -> Genotype:
        """The shares as multipliers of a genotype that keeps every choice but `zero`."""
        return Genotype(
            {
                site: CellChoice(
                    dict(slots),
                    tuple({name: share for name, share in edge.items() if name != ZERO} for edge in self.edges(site)),
                )
                for site, slots in self.beta.items()
            }
        )


@dataclass(frozen=True)
class Frame:
    """The state after `step` steps: fabric -> what is new of it.

    With a budget, frames at validations have what would be derived within it: `fitted` (fabric -> site -> what is
    kept), what that net costs, `macs`, and the `budget` itself, both in MACs.
    """

    step: int
    fabrics: Mapping[str, FabricFrame]
    fitted: Mapping[str, Kept] | None = None
    macs: int | None = None
    budget: int | None = None

    __pydantic_config__ = STRICT

    def after(self, before: Frame) -> Frame:
        """The same with everything that has not changed since another frame."""
        return Frame(self.step, {**before.fabrics, **self.fabrics}, self.fitted, self.macs, self.budget)


def kept_choices(genotype: Genotype) -> dict[str, KeptCell]:
    """A genotype without its multipliers."""
    return {
        site: KeptCell(tuple(cell.inputs), tuple(tuple(edge) for edge in cell.edges))
        for site, cell in genotype.cells.items()
    }


def read_film(run: Run) -> list[Frame]:
    """Every frame, whole; none where a search recorded none. A damaged file raises `UserError("bad-run")`."""
    frames: list[Frame] = []
    for number, row in enumerate(run.rows(FILM), start=1):
        frame = documents.from_data(Frame, row, code="bad-run", where=f"{run.path / FILM}, line {number}")
        frames.append(frame.after(frames[-1]) if frames else frame)
    return frames


def changed(before: Frame, now: Frame) -> tuple[str, ...]:
    """The fabrics of which something else would be kept."""
    return tuple(
        name
        for name, fabric in now.fabrics.items()
        if (fabric.kept, fabric.kept_widths) != (before.fabrics[name].kept, before.fabrics[name].kept_widths)
    )


def changes(frames: Sequence[Frame]) -> dict[str, list[int]]:
    """Fabric -> the steps from which on something else would have been kept of it."""
    found: dict[str, list[int]] = {name: [] for name in frames[0].fabrics} if frames else {}
    for before, now in itertools.pairwise(frames):
        for name in changed(before, now):
            found[name].append(now.step)
    return found
