"""Strategies that draw from alpha and beta what they learn from: soft samples as in SNAS, one hard path as in GDAS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from posefabric.architecture import Architecture
from posefabric.data.loader import Batch
from posefabric.models.mixing import GumbelMixing, Mixing
from posefabric.models.net import gumbel_mixings
from posefabric.settings import SearchSettings
from posefabric.strategies.gradient import FirstOrder
from posefabric.strategies.protocol import StrategySetup

ARCHITECTURE, WEIGHTS = range(2)
"""Which of a step's two draws."""

STREAM = 2
"""Keeps the draws apart from what the loader makes of the same seed."""


def temperature(settings: SearchSettings, step: int, num_steps: int) -> float:
    """That of step `step` (0-based): linear from the first to the last step."""
    first, last = settings.temperature
    return first + (last - first) * step / max(num_steps - 1, 1)


class Gumbel(FirstOrder):
    """Soft samples: in every step alpha and beta, then the weights, learn from a draw of their own.

    A draw is a function of the seed and the step. What is evaluated and chosen is the mean of the draws.
    """

    hard: ClassVar[bool] = False

    def __init__(self, setup: StrategySetup) -> None:
        super().__init__(setup)
        self._seed = setup.config.seed

    def mixings(self, supernet: Architecture) -> dict[str, Mixing]:
        return gumbel_mixings(supernet, hard=self.hard)

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        figures = super().step(weight_batch, architecture_batch, step)
        return figures | {"temperature": temperature(self._search, step, self._num_steps)}

    def _gradients(self, weight_batch: Batch, architecture_batch: Batch, step: int) -> tuple[Tensor, Sequence[Tensor]]:
        with self._drawn(step, ARCHITECTURE):
            loss = self._weights.loss(architecture_batch)
        # cells off a hard path have no gradient in this step
        return loss, torch.autograd.grad(loss, self._parameters, materialize_grads=True)

    def _learn_weights(self, batch: Batch, step: int) -> dict[str, float]:
        with self._drawn(step, WEIGHTS):
            return super()._learn_weights(batch, step)

    @contextmanager
    def _drawn(self, step: int, which: int) -> Iterator[None]:
        """Inside, the net applies one draw."""
        random = np.random.default_rng([self._seed, step, which, STREAM])
        mixings = [mixing for mixing in self._weights.bare_net.mixing.values() if isinstance(mixing, GumbelMixing)]
        for mixing in mixings:
            mixing.draw(random, temperature(self._search, step, self._num_steps))
        try:
            yield
        finally:
            for mixing in mixings:
                mixing.forget()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._seed = state["seed"]


class GumbelHard(Gumbel):
    """One path: only the drawn operation of an edge and the drawn input of a cell are run; the gradient is the soft
    sample's (GDAS, DSNAS)."""

    hard: ClassVar[bool] = True
