"""Strategies that learn alpha and beta by gradient (PNFS section III-F)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from posefabric import ranks
from posefabric.architecture import Architecture
from posefabric.data.loader import Batch
from posefabric.errors import UserError
from posefabric.models.mixing import Mixing
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.optimization import WeightLearner, checked_loss
from posefabric.strategies.auxiliary import lend_skips
from posefabric.strategies.health import health, leaders
from posefabric.strategies.protocol import Score, SingleLevel, StrategySetup
from posefabric.strategies.terms import ArchitectureTerms, architecture_learns


class Synchronous(SingleLevel):
    """The paper's: weights and architecture learn from the same batch in the same step, without held-out data."""

    def __init__(self, setup: StrategySetup) -> None:
        net = setup.build(softmax_mixings(setup.supernet))
        search = setup.config.search
        self._parameters = list(net.architecture_parameters())
        group = {
            "params": self._parameters,
            "lr": search.architecture_lr,
            "first_lr": search.architecture_lr,
            "scheduled": search.architecture_schedule == "same",
            "weight_decay": search.architecture_weight_decay,
        }
        super().__init__(setup, net, [group])
        self._search, self._num_steps = search, setup.num_steps
        self._terms = ArchitectureTerms(net, search, setup.num_steps)
        if self._terms.active:
            self._weights.penalty = self._terms

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        learns = architecture_learns(self._search, step, self._num_steps)
        for parameter in self._parameters:
            parameter.requires_grad_(learns)
        return super().step(weight_batch, architecture_batch, step) | self._terms.figures()


class FirstOrder:
    """First-order DARTS: the architecture steps on held-out persons, then the weights on theirs.

    Adam for alpha and beta with momenta 0.5 and 0.999 as in DARTS; decay is decoupled from the gradient.
    """

    held_out: ClassVar[bool] = True
    steps_on_held_out: ClassVar[bool] = True

    def __init__(self, setup: StrategySetup) -> None:
        net = setup.build(self.mixings(setup.supernet))
        search = setup.config.search
        self._search, self._num_steps = search, setup.num_steps
        self._weights = WeightLearner(setup.engine, net, setup.config, search, setup.num_steps)
        self._parameters = list(net.architecture_parameters())
        self._terms = ArchitectureTerms(net, search, setup.num_steps)
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=search.architecture_lr,
            betas=(0.5, 0.999),
            weight_decay=search.architecture_weight_decay,
        )

    def mixings(self, supernet: Architecture) -> dict[str, Mixing]:
        """Where the supernet's mixing weights come from."""
        return softmax_mixings(supernet)

    @property
    def net(self) -> PoseNet:
        return self._weights.best_net

    @property
    def bare_net(self) -> PoseNet:
        return self._weights.bare_net

    def slow_down(self, factor: float) -> None:
        self._weights.slow_down(factor)
        for group in self._optimizer.param_groups:
            group["lr"] = factor * self._search.architecture_lr

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        assert architecture_batch is not None
        before = leaders(self._weights.bare_net)
        figures = lend_skips(self._weights, step)
        if architecture_learns(self._search, step, self._num_steps):
            figures["architecture_loss"] = self._learn_architecture(weight_batch, architecture_batch, step)
        figures |= self._learn_weights(weight_batch, step)
        return figures | health(self._weights.bare_net, before) | self._terms.figures()

    def _learn_architecture(self, weight_batch: Batch, architecture_batch: Batch, step: int) -> float:
        self._weights.net.train()
        loss, gradients = self._gradients(weight_batch, architecture_batch, step)
        value = checked_loss(loss, step, self._weights.rate(step))
        if self._terms.active:
            further = torch.autograd.grad(self._terms(step), self._parameters, materialize_grads=True)
            gradients = [gradient + term for gradient, term in zip(gradients, further, strict=True)]
        gradients = ranks.means(gradients)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        if not all(torch.isfinite(gradient).all() for gradient in gradients):
            raise UserError("diverged", f"a gradient of alpha or beta of step {step} is not finite")
        self._optimizer.step()
        return value

    def _gradients(self, weight_batch: Batch, architecture_batch: Batch, step: int) -> tuple[Tensor, Sequence[Tensor]]:
        """The loss on the held-out persons, and its gradient with respect to alpha and beta."""
        loss = self._weights.loss(architecture_batch)
        return loss, torch.autograd.grad(loss, self._parameters)

    def _learn_weights(self, batch: Batch, step: int) -> dict[str, float]:
        return self._weights.step(batch, step)

    def choose(self, score: Score) -> Architecture:
        return mixture(self.net)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self._weights.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._weights.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
