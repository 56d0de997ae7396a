"""Pruning is reachability over data: by hand on tiny lattices, and its laws on random ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from strategies_architecture import spaces, spaces_and_genotypes

from posefabric.errors import UserError
from posefabric.genotype import (
    CellChoice,
    Genotype,
    check_genotype,
    everything,
    live_nodes,
    prune,
    used_features,
    used_strides,
)
from posefabric.space import ZERO, SearchSpace, feature_name

SKIP = {"skip_connect": 1.0}
FUNNEL = SearchSpace(3, 1, 3, 1, strides=(4, 8))
"""Two cells, then one: layer1_stride4, layer1_stride8 -> layer2_stride4, over the features 4 and 8."""

PYRAMID = SearchSpace(4, 0, 2, 1, strides=(4, 8, 16))
"""A backbone: layer 0 has strides 4 and 8, layer 1 has 4, 8 and 16."""


def cell(*slots: str, edges: tuple[dict[str, float], ...] = (SKIP,)) -> CellChoice:
    return CellChoice(dict.fromkeys(slots, 1.0), edges)


def test_everything_holds_every_choice_but_zero() -> None:
    for site in FUNNEL.sites():
        choice = everything(FUNNEL).cells[site.name]
        assert list(choice.inputs) == [source.slot for source in site.sources]
        assert choice.edges == (dict.fromkeys((name for name in FUNNEL.operations if name != ZERO), 1.0),)


@given(spaces())
def test_nothing_of_everything_is_pruned(space: SearchSpace) -> None:
    assert prune(space, everything(space)) == everything(space)


def test_an_island_is_dropped() -> None:
    """layer1_stride8 is fed, but nobody reads it."""
    path = {"layer1_stride4": cell("same"), "layer2_stride4": cell("same")}
    assert prune(FUNNEL, Genotype({**path, "layer1_stride8": cell("same")})) == Genotype(path)


def test_an_input_from_an_empty_cell_is_dropped() -> None:
    """layer2 reads layer1_stride8, which has no inputs and so feeds nobody."""
    whole = Genotype(
        {
            "layer1_stride4": cell("same"),
            "layer1_stride8": cell(),
            "layer2_stride4": cell("same", "coarser"),
        }
    )
    path = Genotype({"layer1_stride4": cell("same"), "layer2_stride4": cell("same")})
    assert prune(FUNNEL, whole) == path


def test_an_input_from_a_cell_without_edges_is_dropped() -> None:
    path = {"layer1_stride4": cell("same"), "layer2_stride4": cell("same")}
    dead = {"layer1_stride8": cell("same", edges=({},)), "layer2_stride4": cell("same", "coarser")}
    assert prune(FUNNEL, Genotype({**path, **dead})) == Genotype(path)


def test_a_chain_of_dead_cells_falls_whole() -> None:
    """Nothing feeds layer0_stride8; layer1_stride16 reads it alone, so it falls too."""
    kept = {"layer0_stride4": cell("same"), "layer1_stride4": cell("same")}
    dead = {"layer0_stride8": cell(), "layer1_stride16": cell("finer")}
    assert prune(PYRAMID, Genotype({**kept, **dead})) == Genotype(kept)


@pytest.mark.parametrize(
    "genotype",
    [
        Genotype({}),
        Genotype({"layer1_stride4": cell("same"), "layer1_stride8": cell("same")}),
        Genotype({"layer2_stride4": cell("same", "coarser")}),
        Genotype({"layer1_stride8": cell("same"), "layer2_stride4": cell("same")}),
        Genotype({"layer1_stride4": cell("same"), "layer2_stride4": cell("same", edges=({},))}),
    ],
    ids=["nothing", "no output", "no first layer", "a gap between", "an output without edges"],
)
def test_a_disconnected_fabric_is_an_error(genotype: Genotype) -> None:
    with pytest.raises(UserError) as caught:
        prune(FUNNEL, genotype)
    assert caught.value.code == "empty-architecture"


def test_a_dead_node_takes_its_edges_with_it() -> None:
    """Of three nodes, node 1 has no input: its edges to nodes 2 and 3 feed from nothing."""
    space = replace(FUNNEL, num_nodes=3)
    assert space.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    whole = cell("same", edges=({}, SKIP, SKIP, {}, SKIP, SKIP))
    kept = cell("same", edges=({}, SKIP, {}, {}, {}, SKIP))
    pruned = prune(space, Genotype({"layer1_stride4": whole, "layer2_stride4": whole}))
    assert pruned == Genotype({"layer1_stride4": kept, "layer2_stride4": kept})
    assert live_nodes(space, kept) == (2, 3)


def test_a_cell_whose_only_edges_start_at_dead_nodes_is_empty() -> None:
    space = replace(FUNNEL, num_nodes=2)
    dead = cell("same", edges=({}, {}, SKIP))
    with pytest.raises(UserError, match="no path"):
        prune(space, Genotype({"layer1_stride4": dead, "layer2_stride4": cell("same", edges=(SKIP, {}, {}))}))


def test_wanted_outputs_alone_are_kept() -> None:
    whole = everything(PYRAMID)
    assert set(prune(PYRAMID, whole, [16]).cells) == {"layer0_stride8", "layer1_stride16"}
    assert set(prune(PYRAMID, whole, [4]).cells) == {"layer0_stride4", "layer0_stride8", "layer1_stride4"}
    assert prune(PYRAMID, whole, [4, 8, 16]) == whole
    with pytest.raises(UserError, match="no path"):
        prune(PYRAMID, whole, [32])


def test_weights_stay_as_they_are() -> None:
    path = Genotype(
        {
            "layer1_stride4": CellChoice({"finer": 0.25}, ({"sep_conv_3x3": 1.75},)),
            "layer2_stride4": CellChoice({"same": 2.5}, ({"dil_conv_3x3": -0.5},)),
        }
    )
    assert prune(FUNNEL, path) == path


def test_used_features_are_those_that_kept_cells_read() -> None:
    path = Genotype({"layer1_stride8": cell("same"), "layer2_stride4": cell("coarser")})
    assert used_features(FUNNEL, path) == (8,)
    both = Genotype({"layer1_stride4": cell("same", "coarser"), "layer2_stride4": cell("same")})
    assert used_features(FUNNEL, both) == (4, 8)
    assert used_strides(FUNNEL, {"a": path, "b": path}) == (8,)
    assert used_strides(FUNNEL, {"a": path, "b": both}) == (4, 8)


def test_check_names_the_dead_cell() -> None:
    path = {"layer1_stride4": cell("same"), "layer2_stride4": cell("same")}
    check_genotype(FUNNEL, Genotype(path), "genotypes.all")
    with pytest.raises(UserError, match=r"genotypes\.all holds what nothing reads or feeds: layer1_stride8"):
        check_genotype(FUNNEL, Genotype({**path, "layer1_stride8": cell("same")}), "genotypes.all")


def pruned_or_none(space: SearchSpace, genotype: Genotype) -> Genotype | None:
    try:
        return prune(space, genotype)
    except UserError as error:
        if error.code != "empty-architecture":
            raise
        return None


@given(spaces_and_genotypes())
def test_prune_is_idempotent_and_never_adds(found: tuple[SearchSpace, Genotype]) -> None:
    space, genotype = found
    pruned = pruned_or_none(space, genotype)
    if pruned is None:
        return
    assert prune(space, pruned) == pruned
    for name, choice in pruned.cells.items():
        before = genotype.cells[name]
        assert choice.inputs.items() <= before.inputs.items()
        assert all(after.items() <= edge.items() for after, edge in zip(choice.edges, before.edges, strict=True))


@given(spaces_and_genotypes())
def test_all_that_is_left_lives(found: tuple[SearchSpace, Genotype]) -> None:
    """Every kept cell has inputs that exist, a computing node, and a reader or the output."""
    space, genotype = found
    pruned = pruned_or_none(space, genotype)
    if pruned is None:
        return
    maps = {feature_name(stride) for stride in space.input_strides} | set(pruned.cells)
    read = {site.name for site in space.outputs()}
    for name, choice in pruned.cells.items():
        origins = {source.slot: source.origin for source in space.site(name).sources}
        assert choice.inputs
        assert {origins[slot] for slot in choice.inputs} <= maps
        read |= {origins[slot] for slot in choice.inputs}
        nodes = {0, *live_nodes(space, choice)}
        assert len(nodes) > 1
        assert all(start in nodes for (start, _), kept in zip(space.edges, choice.edges, strict=True) if kept)
    assert set(pruned.cells) <= read


@given(spaces_and_genotypes())
def test_what_is_dropped_lies_on_no_path(found: tuple[SearchSpace, Genotype]) -> None:
    """An independent count of the cells that a walk from the features reaches, and of those the output reaches."""
    space, genotype = found
    features = {feature_name(stride) for stride in space.input_strides}

    def fed(name: str) -> bool:
        if name in features:
            return True
        choice = genotype.cells.get(name)
        # Only node 0 has no edge into it, so a cell computes if an edge leaves node 0.
        if choice is None or not any(
            kept for (start, _), kept in zip(space.edges, choice.edges, strict=True) if start == 0
        ):
            return False
        return any(fed(source.origin) for source in space.site(name).sources if source.slot in choice.inputs)

    def sought(name: str) -> set[str]:
        choice = genotype.cells[name]
        below = [s.origin for s in space.site(name).sources if s.slot in choice.inputs and fed(s.origin)]
        return {name}.union(*(sought(origin) for origin in below if origin not in features))

    alive = set().union(*(sought(site.name) for site in space.outputs() if fed(site.name)))
    pruned = pruned_or_none(space, genotype)
    assert (set(pruned.cells) if pruned else set()) == alive
