"""Strategies that learn no architecture: the controls that any search must beat."""

from __future__ import annotations

import torch

from posefabric.models.net import softmax_mixings
from posefabric.strategies.protocol import SingleLevel, StrategySetup


class Uniform(SingleLevel):
    """No search: every choice keeps the weight 1 (the reference code's `None`; the paper does not report it)."""

    def __init__(self, setup: StrategySetup) -> None:
        super().__init__(setup, setup.build())


class Random(SingleLevel):
    """The paper's random: alpha and beta are drawn once from N(0, 1) and frozen; only the weights learn."""

    def __init__(self, setup: StrategySetup) -> None:
        net = setup.build(softmax_mixings(setup.supernet))
        draw = torch.Generator().manual_seed(setup.config.seed)
        for parameter in net.architecture_parameters():
            parameter.requires_grad_(False).normal_(generator=draw)
        super().__init__(setup, net)
