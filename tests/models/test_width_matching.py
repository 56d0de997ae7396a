"""Widths as a cost asks for: counted by the one counter, whatever was kept, and nothing but widths is changed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_architecture import Search, searches

from posefabric.architecture import Architecture, supernet
from posefabric.backbone import Backbone
from posefabric.errors import UserError
from posefabric.handmade import HEADS, HandMade
from posefabric.models.cost import count
from posefabric.models.matching import WidthCosts, matched, scaled
from posefabric.skeletons import COCO17
from posefabric.space import SearchSpace


@cache
def mobilenet(partition: str = "3", keep: int = 3) -> Architecture:
    """Parts as wide as MobileNetV2's features at strides 4 and 8, where they have no lateral convolution."""
    space = SearchSpace.head(6, keep=keep)
    whole = supernet(COCO17, COCO17.partition(partition), Backbone("mobilenetv2_100"), space, (64, 64))
    return replace(whole, widths=dict.fromkeys(whole.partition, (24, 32, 96, 192)))


@cache
def mobilenet_costs() -> WidthCosts:
    return WidthCosts(mobilenet())


@settings(max_examples=4, deadline=None)
@given(searches(), st.data())
def test_any_widths_cost_what_the_counter_counts(search: Search, data: st.DataObject) -> None:
    (found,) = search.found
    channels = st.tuples(*[st.integers(1, 40)] * 4)
    widths = {part: data.draw(channels) for part in found.partition}
    assert WidthCosts(found).macs(widths) == count(replace(found, widths=widths)).macs


@pytest.mark.parametrize("widths", [(24, 32, 96, 192), (24, 31, 97, 160), (1, 1, 1, 1)])
def test_parts_as_wide_as_the_features_have_no_lateral_to_pay(widths: tuple[int, ...]) -> None:
    chosen = dict(zip(mobilenet().partition, [widths, (24, 32, 64, 128), (40, 80, 160, 320)], strict=True))
    assert mobilenet_costs().macs(chosen) == count(replace(mobilenet(), widths=chosen)).macs


def test_where_widths_were_chosen_every_feature_has_a_lateral_to_pay() -> None:
    several = replace(mobilenet(), space=replace(mobilenet().space, width_multipliers=(0.5, 1.0)))
    assert WidthCosts(several).macs(several.widths) == count(several).macs > count(mobilenet()).macs


@settings(max_examples=3, deadline=None)
@given(searches(), st.floats(0.02, 1.0))
def test_the_cost_asked_for_is_met_by_widths_alone(search: Search, share: float) -> None:
    (found,) = search.found
    costs = WidthCosts(found)
    least, most = (costs.macs(scaled(found.widths, factor)) for factor in (0, 4))
    target = round(least + share * (most - least))
    net = matched(found, target, tolerance=0.1)
    assert 0.9 * target <= count(net).macs <= target
    assert replace(net, widths=found.widths) == found


@pytest.mark.parametrize(
    ("partition", "keep", "target"), [("1", 3, 23_000_000), ("3", 2, 33_333_333), ("3", 3, 250_000_000)]
)
def test_one_factor_for_all_parts_and_nearly_the_whole_cost(partition: str, keep: int, target: int) -> None:
    whole = mobilenet(partition, keep)
    net = matched(whole, target)
    assert 0.99 * target <= count(net).macs <= target
    (first, *_), ratios = (
        (24, 32),
        [w / given for part in whole.partition for w, given in zip(net.widths[part], whole.widths[part], strict=True)],
    )
    assert max(ratios) - min(ratios) <= 3 / first


def test_one_body_is_made_as_dear_as_three_parts() -> None:
    """The arm F of an experiment: one fabric for the whole body, widened to the MACs of a partition."""
    target = count(mobilenet("3")).macs
    body = matched(mobilenet("1"), target)
    assert 0.98 * target <= count(body).macs <= target
    assert min(body.widths["all"]) > 24


@cache
def handmade(head: str) -> HandMade:
    whole = HandMade.published(head, COCO17, Backbone("mobilenetv2_100"), (64, 64), parts="3")
    if head != "residual":
        return whole
    deep = next(iter(whole.partition))  # parts need not be equally deep
    return replace(whole, widths={**whole.widths, deep: (*whole.widths[deep], 50)})


@cache
def handmade_costs(head: str) -> WidthCosts:
    return WidthCosts(handmade(head))


@pytest.mark.parametrize("head", HEADS)
def test_any_widths_of_hand_made_heads_cost_what_the_counter_counts(head: str) -> None:
    """At those of the features, which need no lateral convolution; any others are met below."""
    widths = {
        part: tuple(width for width, _ in zip(cycle((24, 32, 96, 160)), given, strict=False))
        for part, given in handmade(head).widths.items()
    }
    assert handmade_costs(head).macs(widths) == count(replace(handmade(head), widths=widths)).macs


@pytest.mark.parametrize(("head", "share"), [*((head, 0.04) for head in HEADS), ("residual", 1.7)])
def test_hand_made_nets_are_made_as_dear_as_asked_for(head: str, share: float) -> None:
    whole = handmade_costs(head)
    target = round(whole.backbone + share * (whole.macs(handmade(head).widths) - whole.backbone))
    net = matched(handmade(head), target)
    assert 0.98 * target <= count(net).macs <= target
    assert replace(net, widths=handmade(head).widths) == handmade(head)


def test_its_own_cost_leaves_a_net_as_it_is() -> None:
    found = mobilenet()
    assert matched(found, count(found).macs) == found


def test_a_net_is_matched_to_the_same_widths_every_time() -> None:
    assert matched(mobilenet(), 50_000_000) == matched(mobilenet(), 50_000_000)


@pytest.mark.parametrize("target", [1, 10**13])
def test_a_cost_that_no_width_gives_is_refused_with_the_range(target: int) -> None:
    costs, given_widths = mobilenet_costs(), mobilenet().widths
    least, most = (costs.macs(scaled(given_widths, factor)) for factor in (0, 16))
    with pytest.raises(UserError, match=f"{least} to {most} by the widths") as caught:
        matched(mobilenet(), target)
    assert caught.value.code == "bad-value"


def test_channels_too_coarse_for_a_tolerance_are_refused_with_the_nearest() -> None:
    target = count(mobilenet()).macs - 5
    with pytest.raises(UserError, match=r"\d+ MACs are the nearest"):
        matched(mobilenet(), target, tolerance=0)
