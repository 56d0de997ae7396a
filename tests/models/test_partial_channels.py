"""Partial channels: what operations see, what passes by, and that budgets count what is derived."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import small_config, small_supernet, training_stream

from posefabric.architecture import Architecture
from posefabric.errors import UserError
from posefabric.genotype import CellChoice
from posefabric.models.choices import choice_costs
from posefabric.models.cost import count
from posefabric.models.expected import ExpectedMacs
from posefabric.models.fabric import Cell
from posefabric.models.folding import folded
from posefabric.models.mixing import CellWeights
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.space import HEAD_OPERATIONS, SearchSpace
from posefabric.strategies.derive import derive

PARTIAL = ("model.fabric.partial_channels=4", "backbone.fabric.partial_channels=2")


def supernet(*assignments: str) -> Architecture:
    return small_supernet(small_config(*assignments))


def cell(partial: int, **weights: float) -> tuple[Cell, CellWeights]:
    """The one cell of a fabric of 8 channels, with one edge of these operations."""
    space = SearchSpace(1, 0, 1, 2, operations=HEAD_OPERATIONS, strides=(4,), partial_channels=partial)
    (site,) = space.sites()
    choice = CellChoice({"same": 1.0}, (weights,))
    return Cell(space, site, choice, {4: 8}).eval(), CellWeights(choice.inputs, choice.edges)


@torch.no_grad()
@pytest.mark.parametrize("partial", [1, 2, 4, 8])
def test_one_of_k_channels_is_computed_on_and_channels_are_shuffled(partial: int) -> None:
    """Skipping with weight 3: every channel in its place after the shuffle, the first C/K of them tripled."""
    built, weights = cell(partial, skip_connect=3.0)
    with torch.no_grad():
        built.projection.weights["1"].copy_(torch.eye(8)[:, :, None, None])
        built.projection.bias.zero_()
    image = torch.arange(1.0, 9.0)[None, :, None, None].expand(2, 8, 3, 5)
    found = built({"feature4": image}, weights)[0, :, 0, 0].tolist()
    seen = 8 // partial
    expected = [3.0 * c if c <= seen else 1.0 * c for c in range(1, 9)]
    if partial > 1:  # groups of C/K channels, the first of each, then the second of each
        expected = [expected[group * seen + place] for place in range(seen) for group in range(partial)]
    assert found == expected


def test_operations_are_built_for_their_share_of_the_channels() -> None:
    built, _ = cell(4, sep_conv_3x3=1.0, dil_conv_3x3=1.0)
    assert {module.in_channels for module in built.edges["0_1"].modules() if isinstance(module, torch.nn.Conv2d)} == {2}
    assert built.projection.weights["1"].shape == (8, 8, 1, 1)


def test_a_partial_supernet_learns_and_costs_less_to_run() -> None:
    partial, whole = supernet(*PARTIAL), supernet()
    assert partial.partial
    assert not whole.partial
    net = PoseNet(partial, softmax_mixings(partial))
    batch = training_stream(small_config(), 1)[0]
    net(batch.images).sum().backward()
    assert all(parameter.grad is not None for parameter in net.architecture_parameters())
    assert count(partial).macs < count(whole).macs


def test_what_is_derived_sees_all_channels() -> None:
    partial = supernet(*PARTIAL)
    found = mixture(PoseNet(partial, softmax_mixings(partial)))
    assert found.partial
    derived = derive(found, "argmax", small_config().search)
    assert not derived.partial
    assert derived == derive(mixture(PoseNet(supernet(), softmax_mixings(supernet()))), "argmax", small_config().search)


def test_budgets_and_expected_macs_count_the_derived_net() -> None:
    partial, whole = supernet(*PARTIAL), supernet()
    costs, plain = choice_costs(partial), choice_costs(whole)
    assert costs.whole == plain.whole == count(whole).macs
    assert (costs.cells, costs.laterals, costs.heads) == (plain.cells, plain.laterals, plain.heads)
    nets = [PoseNet(found, softmax_mixings(found)) for found in (partial, whole)]
    for net in nets:
        draw = torch.Generator().manual_seed(0)
        for logits in net.architecture_parameters():
            logits.data.normal_(generator=draw)
    expected = [float(ExpectedMacs(table)(net).detach()) for table, net in zip((costs, plain), nets, strict=True)]
    assert expected[0] == expected[1]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 30))
def test_channels_must_divide(base: int, partial: int) -> None:
    assignments = (f"model.fabric.base_channels={base}", f"model.fabric.partial_channels={partial}")
    if 4 * base % partial == 0:
        assert supernet(*assignments).space.partial_channels == partial
    else:
        with pytest.raises(UserError, match="a divisor of all numbers of channels") as caught:
            supernet(*assignments)
        assert caught.value.code == "bad-config"


def test_a_partial_supernet_is_not_folded() -> None:
    with pytest.raises(UserError, match="partial channels"):
        folded(PoseNet(supernet(*PARTIAL)))


def test_at_least_one_channel() -> None:
    with pytest.raises(UserError, match="partial_channels is 0"):
        SearchSpace(1, 0, 1, 2, strides=(4,), partial_channels=0)
