"""The cost objectives: 0 inside the band, the right way outside, and a search that follows."""

from __future__ import annotations

import math

import pytest
import torch
from small_runs import new_strategy, small_config, small_supernet, training_stream

from posefabric.errors import UserError
from posefabric.models.choices import choice_costs
from posefabric.models.net import mixture
from posefabric.strategies.cost import equal_share, outside_band

LEARNING = ("sync", "first-order", "second-order", "gumbel", "gumbel-hard")


def slope(expected: float, budget: int) -> tuple[float, float]:
    macs = torch.tensor(expected, dtype=torch.float64, requires_grad=True)
    term = outside_band(macs, budget)
    term.backward()
    assert macs.grad is not None
    return term.item(), macs.grad.item()


def test_the_band_costs_nothing_inside_and_its_logarithm_outside() -> None:
    for inside in (951.0, 999.0):
        assert slope(inside, 1000) == (0.0, 0.0)
    assert slope(2000.0, 1000) == pytest.approx((math.log(2), 1 / 2000))
    assert slope(475.0, 1000) == pytest.approx((math.log(2), -1 / 475))


def shares_of(name: str, num_steps: int, *assignments: str) -> list[float]:
    """Expected MACs after every step of a search, as shares of the supernet's; even mixtures begin at 56 to 64 %."""
    config = small_config("search.architecture_lr=0.2", "model.fabric.base_channels=8", *assignments)
    learner = new_strategy(name, config)
    batches = training_stream(config, 2)
    whole = choice_costs(small_supernet(config)).whole
    return [learner.step(*batches, step)["expected_macs"] / whole for step in range(num_steps)]


@pytest.mark.parametrize("name", ["sync", "first-order", "gumbel-hard"])
@pytest.mark.parametrize(
    ("objective", "budget", "falls"), [("band", "50%", 1), ("band", "95%", 0), ("weighted", "95%", 1)]
)
def test_a_search_follows_its_objective(name: str, objective: str, budget: str, falls: bool) -> None:
    shares = shares_of(name, 4, f"search.budget={budget}", f"search.cost_objective={objective}")
    assert shares == sorted(shares, reverse=falls)
    assert abs(shares[-1] - shares[0]) > 0.005


def test_a_search_comes_to_rest_in_its_band() -> None:
    shares = shares_of("sync", 10, "search.budget=62%", "search.cost_objective=band", "search.cost_weight=10")
    assert 0.95 * 0.62 <= shares[-1] <= 0.62


@pytest.mark.parametrize("name", LEARNING)
def test_expected_macs_are_reported_where_a_budget_is_set_and_change_nothing(name: str) -> None:
    states = []
    for assignments in ((), ("search.budget=90%",)):
        config = small_config(*assignments)
        learner = new_strategy(name, config)
        figures = learner.step(*training_stream(config, 2), 0)
        assert ("expected_macs" in figures) == bool(assignments)
        states.append(mixture(learner.net))
    assert states[0] == states[1]


def test_a_band_without_a_budget_is_refused() -> None:
    with pytest.raises(UserError, match="a band needs a budget"):
        small_config("search.cost_objective=band")
    with pytest.raises(UserError, match="MACs such as 150M"):
        small_config("search.budget=lots")


def test_equal_shares_hold_every_part_in_its_own_band() -> None:
    parts = torch.tensor([200.0, 97.0, 47.5], dtype=torch.float64, requires_grad=True)
    backbone = torch.tensor(100.0, dtype=torch.float64, requires_grad=True)
    share = equal_share(400, backbone, 3)
    assert share.item() == 100
    terms = outside_band(parts, share)
    assert terms.tolist() == pytest.approx([math.log(2), 0, math.log(2)])
    terms.sum().backward()
    assert parts.grad is not None
    assert parts.grad.tolist() == pytest.approx([1 / 200, 0, -1 / 47.5])
    assert equal_share(400, backbone + 400, 3).item() == pytest.approx(0.05 * 400 / 3)


def test_a_search_with_equal_shares_makes_parts_below_theirs_dearer() -> None:
    """At a budget whose equal shares no part spends yet."""
    shares = shares_of(
        "sync",
        4,
        "model.parts=3",
        "search.budget=45%",
        "search.budget_shares=equal",
        "search.cost_objective=band",
    )
    assert shares == sorted(shares)
    assert shares[-1] - shares[0] > 0.005
