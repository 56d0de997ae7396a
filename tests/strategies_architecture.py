"""Random descriptions for property tests: small search spaces, genotypes and whole architectures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from posefabric.architecture import Architecture, supernet
from posefabric.backbone import fabric_backbone
from posefabric.genotype import CellChoice, Genotype
from posefabric.skeletons import COCO17, MPII16
from posefabric.space import BACKBONE_OPERATIONS, ZERO, SearchSpace

PARTITIONS = [(skeleton, name) for skeleton in (COCO17, MPII16) for name in skeleton.partitions]
STRIDES = (4, 8, 16, 32)


class Search(NamedTuple):
    """A supernet's architecture and some that searches could have found in it."""

    whole: Architecture
    found: list[Architecture]


@st.composite
def spaces(
    draw: st.DrawFn, first: int | None = None, last: int | None = None, scales: int | None = None
) -> SearchSpace:
    """Any lattice of at most 8 layers, or one of 6 to 8 whose kept layers and number of scales are given.

    `last` counts from the end when it is not positive: 0 is the whole rest of the lens.
    """
    num_layers = draw(st.integers(6 if first is not None else 1, 8))
    begin = draw(st.integers(0, num_layers - 1)) if first is None else first % num_layers
    end = draw(st.integers(begin + 1, num_layers)) if last is None else last or num_layers
    operations = draw(st.lists(st.sampled_from(BACKBONE_OPERATIONS), min_size=1, max_size=3, unique=True))
    return SearchSpace(
        num_layers=num_layers,
        first_layer=begin,
        last_layer=end,
        base_channels=draw(st.integers(1, 2)),
        num_nodes=draw(st.sampled_from((1, 1, 1, 2, 3))),
        operations=tuple(operations) if set(operations) > {ZERO} or ZERO not in operations else BACKBONE_OPERATIONS,
        share_operations=draw(st.booleans()),
        boundary=draw(st.sampled_from(("repeat", "omit"))),
        entries=draw(st.sampled_from(("first", "every"))),
        strides=STRIDES[: scales or draw(st.integers(1, len(STRIDES)))],
    )


def heads() -> st.SearchStrategy[SearchSpace]:
    """The last one to three layers of a lens over four scales."""
    return st.integers(-3, -1).flatmap(lambda first: spaces(first=first, last=0, scales=len(STRIDES)))


def backbones() -> st.SearchStrategy[SearchSpace]:
    """The first three layers, which end in all four scales."""
    return spaces(first=0, last=3, scales=len(STRIDES))


@st.composite
def genotypes(draw: st.DrawFn, space: SearchSpace, *, live: bool) -> Genotype:
    """What some search kept. `live`: every cell keeps an input and an operation on its first edge; else anything."""
    weights = itertools.cycle(draw(st.lists(st.floats(0.1, 3), min_size=3, max_size=3)))
    names = [name for name in space.operations if name != ZERO]
    least = 1 if live else 0
    cells = {}
    for site in space.sites():
        slots = [source.slot for source in site.sources]
        inputs = draw(st.integers(least, 2 ** len(slots) - 1))
        first = draw(st.integers(least, 2 ** len(names) - 1))
        others = draw(st.integers(0, 2 ** (len(names) * (len(space.edges) - 1)) - 1))
        edges = first + (others << len(names))
        cells[site.name] = CellChoice(
            inputs=_kept(slots, inputs, weights),
            edges=tuple(_kept(names, edges >> i * len(names), weights) for i in range(len(space.edges))),
        )
    kept = cells if live else {name: cells[name] for name in cells if draw(st.booleans())}
    return Genotype(kept)


@st.composite
def spaces_and_genotypes(draw: st.DrawFn) -> tuple[SearchSpace, Genotype]:
    """Any lattice and anything kept of it: islands, dead ends and empty cells included."""
    space = draw(spaces())
    return space, draw(genotypes(space, live=False))


@st.composite
def searches(draw: st.DrawFn, count: int = 1) -> Search:
    """A net on a tiny fabric backbone over a built-in partition: whole, and as `count` searches left it."""
    skeleton, name = draw(st.sampled_from(PARTITIONS))
    partition = skeleton.partition(name)
    activation, vector_dim = draw(
        st.sampled_from((("squash", 1), ("squash", 4), ("squash", 8), ("linear", 1), ("sigmoid", 1)))
    )
    whole = supernet(
        skeleton,
        partition,
        fabric_backbone(draw(backbones())),
        draw(heads()),
        (64, 64),
        vector_dim=vector_dim,
        activation=activation,
        fusion=draw(st.sampled_from(("sum", "mean"))),
    )
    fabrics = whole.fabrics().items()
    found = [{name: draw(genotypes(space, live=True)) for name, (space, _) in fabrics} for _ in range(count)]
    return Search(whole, [whole.with_genotypes(kept) for kept in found])


def tiny_supernet(
    partition: str = "1",
    *,
    share_operations: bool = True,
    num_nodes: int = 1,
    width_multipliers: tuple[float, ...] = (1.0,),
) -> Architecture:
    """COCO17 on a fabric backbone, both with one base channel: a fixed example for tables of cases."""
    backbone = SearchSpace(
        6, 0, 3, 1, num_nodes, BACKBONE_OPERATIONS, share_operations, width_multipliers=width_multipliers
    )
    head = SearchSpace(6, 3, 6, 1, num_nodes, share_operations=share_operations, width_multipliers=width_multipliers)
    return supernet(COCO17, COCO17.partition(partition), fabric_backbone(backbone), head, (64, 64))


def _kept(names: Sequence[str], mask: int, weights: Iterator[float]) -> dict[str, float]:
    return {name: next(weights) for bit, name in enumerate(names) if mask >> bit & 1}
