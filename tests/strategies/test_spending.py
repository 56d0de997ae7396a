"""Budgets are spent: what no further choice takes buys channels, of one purse or of one for every part."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache

import pytest
import torch

from posefabric.architecture import Architecture, supernet
from posefabric.backbone import BACKBONE, Backbone
from posefabric.errors import UserError
from posefabric.models.choices import ChoiceCosts, choice_costs
from posefabric.models.cost import Cost, count
from posefabric.models.mixing import as_genotype
from posefabric.models.net import softmax_mixings
from posefabric.settings import SearchSettings
from posefabric.skeletons import COCO17
from posefabric.space import SearchSpace
from posefabric.strategies import cost as cost_module
from posefabric.strategies.derive import derive
from posefabric.strategies.fitting import Budget


@cache
@torch.no_grad()
def drawn(seed: int = 0) -> Architecture:
    """What a search might have found on MobileNetV2, whose stages come in lumps."""
    space = SearchSpace(6, 4, 6, base_channels=32)
    whole = supernet(COCO17, COCO17.partition("3"), Backbone("mobilenetv2_100"), space, (64, 64))
    torch.manual_seed(seed)
    mixings = softmax_mixings(whole)
    for mixing in mixings.values():
        for logits in mixing.parameters():
            torch.nn.init.normal_(logits)
    return whole.with_genotypes({part: as_genotype(mixing()) for part, mixing in mixings.items()})


@cache
def costs() -> ChoiceCosts:
    return choice_costs(drawn())


@pytest.fixture(autouse=True)
def counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_module, "choice_costs", lambda found: replace(costs(), architecture=found))


def within(share: float, **further: object) -> SearchSettings:
    return SearchSettings.model_validate({"budget": str(round(share * costs().whole)), **further})


def shares_used(cost: Cost, share: float) -> list[float]:
    """What every part uses of an equal share of what the backbone leaves."""
    left = round(share * costs().whole) - cost.backbone_macs
    return [part.macs * len(cost.parts) / left for part in cost.parts.values()]


@pytest.mark.parametrize(("method", "share"), [("argmax", 0.45), ("path", 0.7), ("threshold", 1.6)])
def test_a_budget_is_spent_to_98_percent(method: str, share: float) -> None:
    derived = derive(drawn(), method, within(share))
    macs, budget = count(derived).macs, round(share * costs().whole)
    assert 0.98 * budget <= macs <= budget
    narrow = derive(drawn(), method, within(share, widen=False))
    assert replace(derived, widths=narrow.widths) == narrow
    assert narrow.widths == drawn().widths


@pytest.mark.parametrize(("method", "share"), [("argmax", 0.5), ("path", 0.8), ("threshold", 1.3)])
def test_equal_shares_are_spent_by_every_part(method: str, share: float) -> None:
    derived = derive(drawn(), method, within(share, budget_shares="equal"))
    used = shares_used(count(derived), share)
    assert min(used) >= 0.98
    assert max(used) <= 1


@pytest.mark.parametrize("shares", ["global", "equal"])
def test_one_purse_lets_a_part_buy_what_equal_shares_do_not(shares: str) -> None:
    derived = derive(drawn(), "argmax", within(0.6, max_inputs=1, budget_shares=shares, widen=False))
    assert (max(shares_used(count(derived), 0.6)) > 1.02) == (shares == "global")


@pytest.mark.parametrize("shares", ["global", "equal"])
def test_the_smallest_reachable_cost_is_named_and_pays(shares: str) -> None:
    with pytest.raises(UserError, match="the smallest reachable cost") as caught:
        derive(drawn(), "path", within(0.01, budget_shares=shares))
    least = int(caught.value.allowed.split()[2].rstrip(","))
    settings = SearchSettings(budget=str(least), budget_shares=shares, widen=False)  # type: ignore[arg-type]
    assert count(derive(drawn(), "path", settings)).macs <= least
    with pytest.raises(UserError, match=f"at least {least},"):
        derive(drawn(), "path", settings.model_copy(update={"budget": str(least - 1)}))


def test_what_is_untrained_and_what_falls_short_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        derive(drawn(), "argmax", within(1.5))
        assert "further channels are untrained: head (128, 256, 512, 1024) to (" in caplog.text
        caplog.clear()
        derive(drawn(), "argmax", within(1.5, widen=False))
        assert f"costs {costs().whole} MACs, 67 % of the budget" in caplog.text
        caplog.clear()
        derive(drawn(), "argmax", within(1e4))
        assert "no further choice or channel fits" in caplog.text


def test_a_budget_says_what_a_net_takes_and_uses_of_it() -> None:
    spent = {BACKBONE: 100, "a": 50, "b": 30}
    assert (Budget(200).due(spent), Budget(200).used(spent)) == (180, 0.9)
    assert (Budget(200, equal=True).due(spent), Budget(200, equal=True).used(spent)) == (200, 0.6)
