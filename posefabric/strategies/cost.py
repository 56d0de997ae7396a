"""What compute weighs in the loss from which alpha and beta learn: expected MACs, held in a band or simply paid for."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from posefabric.budget import budget_macs
from posefabric.config import SearchSettings
from posefabric.models.choices import choice_costs
from posefabric.models.expected import ExpectedMacs
from posefabric.models.net import PoseNet

TOLERANCE = 0.05
"""The width of the band below the budget, as a share of it (TAS)."""


class ComputeTerm:
    """The cost objective of a search on one supernet; called with its expected MACs, it gives the term of the loss."""

    def __init__(self, net: PoseNet, settings: SearchSettings) -> None:
        costs = choice_costs(net.architecture)
        self.net, self.settings, self._expected = net, settings, ExpectedMacs(costs)
        self.whole = costs.whole
        self.budget = None if settings.budget is None else budget_macs(settings.budget, costs.whole)

    def __call__(self) -> Float[Tensor, ""]:
        objective, expected = self.settings.cost_objective, self._expected(self.net)
        if objective == "band":
            assert self.budget is not None
            return self.settings.cost_weight * outside_band(expected, self.budget)
        return self.settings.cost_weight * expected / self.whole if objective == "weighted" else 0 * expected

    @torch.no_grad()
    def expected_macs(self) -> float:
        """Those of the mixture as it stands."""
        return float(self._expected(self.net))


def outside_band(expected: Float[Tensor, ""], budget: int) -> Float[Tensor, ""]:
    """How far, as a logarithm, expected MACs are from the budget or up to 5 % below it; 0 in between.

    The gradients are those of TAS: log E above, -log E below.
    """
    least = (1 - TOLERANCE) * budget
    return torch.relu(torch.log(expected / budget)) + torch.relu(torch.log(least / expected))
