"""Genotypes: what was kept of a search space, as data that is compared, saved, pruned and drawn.

Where it stands in the walk: between the search space and the architecture. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from posefabric.documents import STRICT
from posefabric.errors import UserError, suggestion
from posefabric.space import ZERO, SearchSpace, feature_name

EQUAL = 1.0
"""Weight of a choice in an equal mixture: number of choices x softmax of equal logits (the paper's code)."""


@dataclass(frozen=True)
class CellChoice:
    """What one cell keeps: slot -> multiplier, and for every edge of the space operation -> multiplier.

    Multipliers are stored as applied. An empty mapping in `edges` is a dropped edge; `zero` is never kept.
    """

    inputs: Mapping[str, float]
    edges: tuple[Mapping[str, float], ...]

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Genotype:
    """What one fabric keeps: site name -> choice, in any order; sites that are not named are empty."""

    cells: Mapping[str, CellChoice]

    __pydantic_config__ = STRICT


def everything(space: SearchSpace) -> Genotype:
    """The genotype of the supernet: every site, input and operation, each with weight 1."""
    operations = dict.fromkeys((name for name in space.operations if name != ZERO), EQUAL)
    return Genotype(
        {
            site.name: CellChoice(
                inputs={source.slot: EQUAL for source in site.sources},
                edges=tuple(dict(operations) for _ in space.edges),
            )
            for site in space.sites()
        }
    )


def prune(space: SearchSpace, genotype: Genotype, wanted: Collection[int] | None = None) -> Genotype:
    """Drop what no path from a feature reaches, then what reaches no output; weights stay as they are.

    A cell without inputs, or whose nodes have no edges, is empty and feeds nobody. `wanted` are the strides of the
    outputs that somebody reads (all of the last layer unless said). Raises `UserError("empty-architecture")` when no
    output is left.
    """
    reached = _reached(space, genotype)
    outputs = [site for site in space.outputs() if wanted is None or site.stride in wanted]
    needed = {site.name for site in outputs if site.name in reached}
    if not needed:
        raise UserError(
            "empty-architecture", "no path leads from a feature to the fabric's output", "one path at least"
        )
    needed = upstream(space, {name: choice.inputs for name, choice in reached.items()}, needed)
    return Genotype({site.name: reached[site.name] for site in space.sites() if site.name in needed})


def upstream(space: SearchSpace, inputs: Mapping[str, Collection[str]], ends: Collection[str]) -> set[str]:
    """Names of all cells and features that the cells `ends` depend on, they included; `inputs`: cell -> its slots."""
    needed = set(ends)
    for site in reversed(space.sites()):
        if site.name in needed:
            needed |= {source.origin for source in site.sources if source.slot in inputs[site.name]}
    return needed


def _reached(space: SearchSpace, genotype: Genotype) -> dict[str, CellChoice]:
    available = {feature_name(stride) for stride in space.input_strides}
    reached: dict[str, CellChoice] = {}
    for site in space.sites():
        if site.name not in genotype.cells:
            continue
        choice = genotype.cells[site.name]
        origins: dict[str, str] = {source.slot: source.origin for source in site.sources}
        inputs = {slot: w for slot, w in choice.inputs.items() if origins[slot] in available}
        edges = _live_edges(space, choice)
        if inputs and any(edges):
            reached[site.name] = CellChoice(inputs, edges)
            available.add(site.name)
    return reached


def _live_edges(space: SearchSpace, choice: CellChoice) -> tuple[Mapping[str, float], ...]:
    live = {0}
    kept: list[Mapping[str, float]] = []
    for (start, end), operations in zip(space.edges, choice.edges, strict=True):
        kept.append(dict(operations) if start in live else {})
        if kept[-1]:
            live.add(end)
    return tuple(kept)


def live_nodes(space: SearchSpace, choice: CellChoice) -> tuple[int, ...]:
    """The hidden nodes of a pruned cell that compute something, ascending; node 0, the input, not counted."""
    return tuple(sorted({end for (_, end), operations in zip(space.edges, choice.edges, strict=True) if operations}))


def used_features(space: SearchSpace, genotype: Genotype) -> tuple[int, ...]:
    """Strides of the input feature maps that some kept cell reads."""
    origins = {
        source.origin
        for site in space.sites()
        if site.name in genotype.cells
        for source in site.sources
        if source.slot in genotype.cells[site.name].inputs
    }
    return tuple(stride for stride in space.input_strides if feature_name(stride) in origins)


def used_scales(space: SearchSpace, genotype: Genotype) -> tuple[int, ...]:
    """Strides of the maps that a genotype computes or reads."""
    sites = [site for site in space.sites() if site.name in genotype.cells]
    return tuple(sorted({site.stride for site in sites} | set(used_features(space, genotype))))


def used_strides(space: SearchSpace, genotypes: Mapping[str, Genotype]) -> tuple[int, ...]:
    """Strides of the feature maps that some part reads."""
    used = {stride for genotype in genotypes.values() for stride in used_features(space, genotype)}
    return tuple(sorted(used))


def check_genotype(space: SearchSpace, genotype: Genotype, where: str, wanted: Collection[int] | None = None) -> None:
    names = [site.name for site in space.sites()]
    candidates = [operation for operation in space.operations if operation != ZERO]
    for name, choice in genotype.cells.items():
        if name not in names:
            raise bad_field(
                f"{where}.cells",
                f"names the unknown site '{name}'{suggestion(name, names)}",
                ", ".join(names),
            )
        slots = [source.slot for source in space.site(name).sources]
        _check_weights(choice.inputs, slots, f"{where}.cells.{name}.inputs")
        if len(choice.edges) != len(space.edges):
            raise bad_field(f"{where}.cells.{name}.edges", f"has {len(choice.edges)} entries", f"{len(space.edges)}")
        for i, operations in enumerate(choice.edges):
            _check_weights(operations, candidates, f"{where}.cells.{name}.edges.{i}")
    pruned = prune(space, genotype, wanted)
    if pruned != genotype:
        dead = sorted(set(genotype.cells) - set(pruned.cells)) or ["an input or edge"]
        raise bad_field(
            where, f"holds what nothing reads or feeds: {', '.join(dead)}", "a pruned genotype (see `prune`)"
        )


def _check_weights(weights: Mapping[str, float], known: Sequence[str], where: str) -> None:
    for name, weight in weights.items():
        if name not in known:
            raise bad_field(where, f"names the unknown choice '{name}'{suggestion(name, known)}", ", ".join(known))
        if not math.isfinite(weight):
            raise bad_field(f"{where}.{name}", f"is {weight}", "a finite number")


def bad_field(where: str, found: str, allowed: str) -> UserError:
    """The error for a field of an architecture, named by its dotted path."""
    return UserError("bad-architecture", f"{where} {found}", allowed)
