"""Strategies that learn alpha and beta by gradient (PNFS section III-F)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from posefabric.architecture import Architecture
from posefabric.data.loader import Batch
from posefabric.errors import UserError
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.optimization import WeightLearner, heatmap_objective
from posefabric.strategies.protocol import Score, SingleLevel, StrategySetup, entropies


class Synchronous(SingleLevel):
    """The paper's: weights and architecture learn from the same batch in the same step, without held-out data."""

    def __init__(self, setup: StrategySetup) -> None:
        net = setup.build(softmax_mixings(setup.supernet))
        search = setup.config.search
        group = {
            "params": list(net.architecture_parameters()),
            "lr": search.architecture_lr,
            "first_lr": search.architecture_lr,
            "scheduled": search.architecture_schedule == "same",
            "weight_decay": search.architecture_weight_decay,
        }
        super().__init__(setup, net, [group])


class FirstOrder:
    """First-order DARTS: the architecture steps on held-out persons, then the weights on theirs.

    Adam for alpha and beta with momenta 0.5 and 0.999 as in DARTS; decay is decoupled from the gradient.
    """

    held_out: ClassVar[bool] = True

    def __init__(self, setup: StrategySetup) -> None:
        net = setup.build(softmax_mixings(setup.supernet))
        search = setup.config.search
        self._weights = WeightLearner(setup.engine, net, setup.config, search, setup.num_steps)
        self._parameters = list(net.architecture_parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=search.architecture_lr,
            betas=(0.5, 0.999),
            weight_decay=search.architecture_weight_decay,
        )

    @property
    def net(self) -> PoseNet:
        return self._weights.best_net

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        assert architecture_batch is not None
        self._weights.net.train()
        loss = heatmap_objective(self._weights.net, architecture_batch, self._weights.sigma_px)
        gradients = torch.autograd.grad(loss, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        if not all(torch.isfinite(gradient).all() for gradient in gradients):
            raise UserError("diverged", f"a gradient of alpha or beta of step {step} is not finite")
        self._optimizer.step()
        figures = self._weights.step(weight_batch, step)
        return figures | {"architecture_loss": float(loss.detach())} | entropies(self._weights.bare_net)

    def choose(self, score: Score) -> Architecture:
        return mixture(self.net)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self._weights.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._weights.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
