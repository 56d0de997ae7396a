"""What compute weighs in the loss from which alpha and beta learn: what it is expected to be, in a band or paid for."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from posefabric.architecture import Architecture
from posefabric.budget import budget_macs, budget_nanoseconds
from posefabric.models.choices import ChoiceCosts, choice_costs
from posefabric.models.cost import count
from posefabric.models.expected import ExpectedMacs
from posefabric.models.latency import latency_costs, read_table
from posefabric.models.net import PoseNet
from posefabric.settings import SearchSettings

TOLERANCE = 0.05
"""The width of the band below the budget, as a share of it (TAS)."""


class ComputeTerm:
    """The cost objective of a search on one supernet; called with its expected MACs, it gives the term of the loss."""

    def __init__(self, net: PoseNet, settings: SearchSettings) -> None:
        costs = costs_in(settings, net.architecture)
        self.net, self.settings, self._expected = net, settings, ExpectedMacs(costs)
        self.whole = costs.whole
        self.budget = None if settings.budget is None else budget_of(settings, costs)

    def __call__(self) -> Float[Tensor, ""]:
        objective, (parts, backbone) = self.settings.cost_objective, self._expected.by_part(self.net)
        expected, weight = parts.sum() + backbone, self.settings.cost_weight
        if objective == "band":
            assert self.budget is not None
            if self.settings.budget_shares == "equal":
                return weight * outside_band(parts, equal_share(self.budget, backbone, len(parts))).mean()
            return weight * outside_band(expected, self.budget)
        return weight * expected / self.whole if objective == "weighted" else 0 * expected

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """What the mixture as it stands is expected to cost: MACs, or milliseconds."""
        expected = float(self._expected(self.net))
        return {"expected_macs": expected} if self.settings.cost_unit == "macs" else {"expected_ms": expected / 1e6}


def costs_in(settings: SearchSettings, architecture: Architecture) -> ChoiceCosts:
    """The choices of an architecture in what a search pays with: MACs, or nanoseconds of its table of latencies."""
    if settings.cost_unit == "macs":
        return choice_costs(architecture)
    assert settings.latency_table is not None
    return latency_costs(architecture, read_table(settings.latency_table))


def budget_of(settings: SearchSettings, costs: ChoiceCosts) -> int:
    """A search's budget in the unit of what its supernet costs."""
    assert settings.budget is not None
    read = budget_macs if settings.cost_unit == "macs" else budget_nanoseconds
    return read(settings.budget, costs.whole)


def cost_figures(settings: SearchSettings, found: Architecture, derived: Architecture) -> dict[str, float]:
    """MACs of a derived net, and if there is one, its budget; where that is of time, its milliseconds by the table."""
    figures: dict[str, float] = {"macs": count(derived).macs}
    if settings.budget is None:
        return figures
    costs = costs_in(settings, found)
    if settings.cost_unit == "macs":
        return figures | {"budget": budget_of(settings, costs)}
    return figures | {
        "expected_ms": costs.macs(derived.all_genotypes()) / 1e6,
        "budget_ms": budget_of(settings, costs) / 1e6,
    }


def equal_share(budget: int, backbone: Float[Tensor, ""], num_parts: int) -> Float[Tensor, ""]:
    """What a part may cost of what the backbone leaves; never less than of 5 % of the budget."""
    return (budget - backbone).clamp(min=TOLERANCE * budget) / num_parts


def outside_band(expected: Float[Tensor, "*P"], budget: int | Float[Tensor, ""]) -> Float[Tensor, "*P"]:
    """How far, as a logarithm, expected MACs are from the budget or up to 5 % below it; 0 in between.

    The gradients are those of TAS: log E above, -log E below.
    """
    least = (1 - TOLERANCE) * budget
    return torch.relu(torch.log(expected / budget)) + torch.relu(torch.log(least / expected))
