"""Strategies that learn no architecture: the controls that any search must beat."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from posefabric.architecture import Architecture
from posefabric.data.loader import Batch
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.optimization import WeightLearner
from posefabric.strategies.protocol import Score, StrategySetup


class Uniform:
    """No search: every choice keeps the weight 1 (the reference code's `None`; the paper does not report it)."""

    held_out: ClassVar[bool] = False

    def __init__(self, setup: StrategySetup) -> None:
        config = setup.config
        self._weights = WeightLearner(setup.engine, setup.build(), config, config.search, setup.num_steps)

    @property
    def net(self) -> PoseNet:
        return self._weights.best_net

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        return self._weights.step(weight_batch, step)

    def choose(self, score: Score) -> Architecture:
        return self.net.architecture

    def state_dict(self) -> dict[str, Any]:
        return self._weights.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._weights.load_state_dict(state)


class Random:
    """The paper's random: alpha and beta are drawn once from N(0, 1) and frozen; only the weights learn."""

    held_out: ClassVar[bool] = False

    def __init__(self, setup: StrategySetup) -> None:
        config = setup.config
        net = setup.build(softmax_mixings(setup.supernet))
        draw = torch.Generator().manual_seed(config.seed)
        for parameter in net.architecture_parameters():
            parameter.requires_grad_(False).normal_(generator=draw)
        self._weights = WeightLearner(setup.engine, net, config, config.search, setup.num_steps)

    @property
    def net(self) -> PoseNet:
        return self._weights.best_net

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        return self._weights.step(weight_batch, step)

    def choose(self, score: Score) -> Architecture:
        return mixture(self.net)

    def state_dict(self) -> dict[str, Any]:
        return self._weights.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._weights.load_state_dict(state)
