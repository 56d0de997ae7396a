"""What may join the loss from which alpha and beta learn, and when they begin to learn.

Weights of terms are functions of the step, so a resume needs nothing to be saved.
"""

from __future__ import annotations

import torch
from torch import Tensor

from posefabric.models.net import PoseNet
from posefabric.settings import SearchSettings
from posefabric.strategies.cost import ComputeTerm
from posefabric.strategies.health import relative_entropy, softmax_mixings_of


def architecture_learns(settings: SearchSettings, step: int, num_steps: int) -> bool:
    """Whether the warm-up of the weights is over in step `step` (0-based)."""
    return step >= settings.warmup_architecture * num_steps


class ArchitectureTerms:
    """Entropy and beta-decay of a net's mixtures and what it is expected to cost, weighted as configured.

    `active` says whether any of them counts at all. Where a budget or a cost objective is set, `figures` has the
    expected MACs.
    """

    def __init__(self, net: PoseNet, settings: SearchSettings, num_steps: int) -> None:
        self.net, self.settings, self.num_steps = net, settings, num_steps
        costs = settings.cost_objective != "none"
        self.active = bool(settings.entropy or settings.beta_decay or costs)
        self._compute = ComputeTerm(net, settings) if costs or settings.budget is not None else None

    def __call__(self, step: int) -> Tensor:
        progress = (step + 1) / self.num_steps
        total = self.settings.entropy * max(0.0, 2 * progress - 1) * mean_entropy(self.net)
        total = total + self.settings.beta_decay * progress * total_logsumexp(self.net)
        return total if self._compute is None else total + self._compute()

    def figures(self) -> dict[str, float]:
        """What the mixture as it stands is expected to cost."""
        return {} if self._compute is None else self._compute.figures()


def mean_entropy(net: PoseNet) -> Tensor:
    """Mean relative entropy of all mixtures, alpha's, beta's and the widths' alike: 1 undecided, 0 decided."""
    found = [
        relative_entropy(logits).flatten()
        for mixing in softmax_mixings_of(net)
        for logits in (*mixing.alpha.values(), *mixing.beta.values(), *mixing.width.values())
    ]
    return torch.cat(found).mean()


def total_logsumexp(net: PoseNet) -> Tensor:
    """Sum over all edges of logsumexp(alpha): descending it shrinks large alphas most (beta-DARTS)."""
    found = [
        torch.logsumexp(alpha.float(), dim=-1).sum()
        for mixing in softmax_mixings_of(net)
        for alpha in mixing.alpha.values()
    ]
    return torch.stack(found).sum()
