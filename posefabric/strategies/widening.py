"""What is left of a budget when no further choice fits buys channels: nets of 0.98 to 1.00 of what they may cost.

Further channels have no weights in the supernet: they start untrained, and that is said.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from posefabric.architecture import Architecture
from posefabric.models.matching import WidthCosts, fitted_widths
from posefabric.strategies.fitting import ENOUGH, EXPECTED, Budget

logger = logging.getLogger(__name__)


def spend(derived: Architecture, spent: Mapping[str, int], budget: Budget, *, widen: bool) -> Architecture:
    """A derived net that costs `spent`, or where that is not all of its budget, the same net as wide as it pays.

    All parts grow by one factor, or with equal shares each by its own. What falls short of 98 % all the same is told,
    or where nets may not `widen`, of 90 %.
    """
    if budget.used(spent) >= ENOUGH:
        return derived
    if not widen:
        tell_if_short(spent, EXPECTED, budget)
        return derived
    costs = WidthCosts(derived)
    widths = _widths(costs, derived, budget)
    tell_if_short(costs.by_part(widths), ENOUGH, budget)
    changed = [part for part in widths if widths[part] != derived.widths[part]]
    if changed:
        told = ", ".join(f"{part} {derived.widths[part]} to {widths[part]}" for part in changed)
        logger.warning("widened to meet the budget, further channels are untrained: %s", told)
    return replace(derived, widths=widths)


def _widths(costs: WidthCosts, derived: Architecture, budget: Budget) -> dict[str, tuple[int, ...]]:
    widths = dict(derived.widths)
    if not budget.equal:
        return fitted_widths(costs, widths, budget.most, widths)
    share = (budget.most - costs.backbone) // len(widths)
    for part in widths:
        others = costs.macs(widths) - costs.part(part, widths[part])
        widths = fitted_widths(costs, widths, others + share, [part])
    return widths


def tell_if_short(spent: Mapping[str, int], least: float, budget: Budget) -> None:
    """A warning where a net, or with equal shares one of its parts, uses less than a share of its budget."""
    if (used := budget.used(spent)) < least:
        whose = f"one of {len(spent) - 1} equal shares" if budget.equal else "the budget"
        cost = f"{budget.told(sum(spent.values()))}{'' if budget.of_time else ' MACs'}"
        found = f"the derived net costs {cost}, {100 * used:.0f} % of {whose} of {budget.told(budget.most)}"
        logger.warning("%s: no further choice or channel fits", found)
