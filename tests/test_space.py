"""The lattice: the paper's lens, both rules at its borders, cells' edges, and spaces that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from strategies_architecture import spaces

from posefabric import documents
from posefabric.errors import UserError
from posefabric.space import SLOTS, SearchSpace, Site, feature_name

LENSES = {6: [2, 3, 4, 3, 2, 1], 7: [2, 3, 4, 4, 3, 2, 1], 8: [2, 3, 4, 4, 4, 3, 2, 1]}
"""L -> cells per layer (PNFS figure 2 and the released code)."""


def small(**changes: Any) -> SearchSpace:
    return SearchSpace(**{"num_layers": 6, "first_layer": 3, "last_layer": 6, "base_channels": 1, **changes})


def sources(space: SearchSpace, name: str) -> dict[str, str]:
    return {source.slot: source.origin for source in space.site(name).sources}


def cells_per_layer(sites: tuple[Site, ...]) -> list[int]:
    layers = [site.layer for site in sites]
    return [layers.count(layer) for layer in sorted(set(layers))]


@pytest.mark.parametrize("num_layers", LENSES)
def test_the_lens_of_the_paper(num_layers: int) -> None:
    whole = small(num_layers=num_layers, first_layer=0, last_layer=num_layers)
    assert cells_per_layer(whole.sites()) == LENSES[num_layers]


@pytest.mark.parametrize("num_layers", LENSES)
@pytest.mark.parametrize("keep", [1, 3, 5])
def test_heads_keep_the_last_layers_and_backbones_the_first(num_layers: int, keep: int) -> None:
    head = SearchSpace.head(10, num_layers=num_layers, keep=keep)
    backbone = SearchSpace.backbone(10, num_layers=num_layers, keep=keep)
    assert cells_per_layer(head.sites()) == LENSES[num_layers][-keep:]
    assert cells_per_layer(backbone.sites()) == LENSES[num_layers][:keep]
    assert head.input_strides == (4, 8, 16, 32)
    assert backbone.input_strides == (4,)
    assert [site.stride for site in head.outputs()] == [4]


def test_the_papers_head_cell_by_cell() -> None:
    assert [site.name for site in SearchSpace.head(10).sites()] == [
        "layer3_stride4",
        "layer3_stride8",
        "layer3_stride16",
        "layer4_stride4",
        "layer4_stride8",
        "layer5_stride4",
    ]


def test_a_head_reads_one_scale_below_its_first_layer() -> None:
    assert sources(SearchSpace.head(10), "layer3_stride16") == {
        "same": "feature16",
        "finer": "feature8",
        "coarser": "feature32",
    }


@pytest.mark.parametrize(
    ("name", "repeat", "omit"),
    [
        (  # the only input map is the stem's
            "layer0_stride4",
            {"same": "feature4", "finer": "feature4", "coarser": "feature4"},
            {"same": "feature4"},
        ),
        (  # a new bottom cell: the finer map stands in for the same and the coarser one
            "layer0_stride8",
            {"same": "feature4", "finer": "feature4", "coarser": "feature4"},
            {"finer": "feature4"},
        ),
        (  # the finest scale has no finer neighbour: the same scale stands in
            "layer1_stride4",
            {"same": "layer0_stride4", "finer": "layer0_stride4", "coarser": "layer0_stride8"},
            {"same": "layer0_stride4", "coarser": "layer0_stride8"},
        ),
        (
            "layer1_stride8",
            {"same": "layer0_stride8", "finer": "layer0_stride4", "coarser": "layer0_stride8"},
            {"same": "layer0_stride8", "finer": "layer0_stride4"},
        ),
        (
            "layer1_stride16",
            {"same": "layer0_stride8", "finer": "layer0_stride8", "coarser": "layer0_stride8"},
            {"finer": "layer0_stride8"},
        ),
        (  # all neighbours are there: the rules agree
            "layer2_stride8",
            {"same": "layer1_stride8", "finer": "layer1_stride4", "coarser": "layer1_stride16"},
            {"same": "layer1_stride8", "finer": "layer1_stride4", "coarser": "layer1_stride16"},
        ),
        (  # the coarsest scale there is
            "layer3_stride32",
            {"same": "layer2_stride32", "finer": "layer2_stride16", "coarser": "layer2_stride32"},
            {"same": "layer2_stride32", "finer": "layer2_stride16"},
        ),
    ],
)
def test_the_rules_at_the_border_by_hand(name: str, repeat: dict[str, str], omit: dict[str, str]) -> None:
    layers = {"num_layers": 8, "first_layer": 0, "last_layer": 4}
    assert sources(small(**layers), name) == repeat
    assert sources(small(**layers, boundary="omit"), name) == omit


@pytest.mark.parametrize(
    ("num_nodes", "edges"),
    [(1, ((0, 1),)), (2, ((0, 1), (0, 2), (1, 2))), (3, ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)))],
)
def test_a_node_reads_every_node_before_it(num_nodes: int, edges: tuple[tuple[int, int], ...]) -> None:
    assert small(num_nodes=num_nodes).edges == edges


def test_channels_grow_with_the_stride() -> None:
    assert [small(base_channels=10).channels(stride) for stride in (4, 8, 16, 32)] == [40, 80, 160, 320]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_layers": 0}, "num_layers is 0"),
        ({"base_channels": 0}, "base_channels is 0"),
        ({"num_nodes": 0}, "num_nodes is 0"),
        ({"first_layer": -1}, "first_layer"),
        ({"first_layer": 6}, "first_layer < last_layer"),
        ({"last_layer": 7}, "last_layer <= num_layers"),
        ({"strides": ()}, "strides"),
        ({"strides": (4, 16)}, "strides"),
        ({"strides": (8, 4)}, "strides"),
        ({"strides": (0, 0)}, "strides"),
        ({"strides": (-4, -8)}, "strides"),
        ({"operations": ()}, "operations"),
        ({"operations": ("zero",)}, "operations"),
        ({"operations": ("skip_connect", "skip_connect")}, "operations"),
    ],
)
def test_a_space_that_cannot_be_names_the_field(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named) as caught:
        small(**changes)
    assert caught.value.code == "bad-space"


@given(spaces())
def test_forward_order_has_every_origin_before_its_reader(space: SearchSpace) -> None:
    known = {feature_name(stride): stride for stride in space.input_strides}
    for site in space.sites():
        assert site.sources
        for source in site.sources:
            assert known[source.origin] == source.stride
            assert source.stride in (site.stride // 2, site.stride, site.stride * 2)
        assert site.name not in known
        known[site.name] = site.stride


@given(spaces())
def test_slots_are_unique_and_in_the_order_of_the_betas(space: SearchSpace) -> None:
    for site in space.sites():
        slots = [source.slot for source in site.sources]
        assert slots == [slot for slot in SLOTS if slot in slots]
        if space.boundary == "repeat":
            assert slots[:3] == list(SLOTS[:3])
        later = site.layer > space.first_layer and site.stride in space.input_strides
        assert ("feature" in slots) == (space.entries == "every" and later)


@given(spaces())
def test_cells_read_the_layer_before_and_features_where_they_may(space: SearchSpace) -> None:
    for site in space.sites():
        for source in site.sources:
            if source.slot == "feature":
                assert source.origin == feature_name(site.stride)
            elif site.layer > space.first_layer:
                assert space.site(source.origin).layer == site.layer - 1


@given(spaces())
def test_omit_keeps_the_true_neighbours_of_repeat(space: SearchSpace) -> None:
    wanted = {"same": 1.0, "finer": 0.5, "coarser": 2.0, "feature": 1.0}
    for site in space.sites():
        for source in site.sources:
            if space.boundary == "omit":
                assert source.stride == site.stride * wanted[source.slot]


@given(spaces())
def test_a_space_survives_json(space: SearchSpace) -> None:
    text = documents.to_json(space)
    assert documents.from_json(SearchSpace, text, code="bad-space", where="space") == space
