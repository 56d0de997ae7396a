"""Search by comparing single nets on one supernet that was trained a net at a time (single path one shot).

The supernet has no alpha and beta: every step trains one net of the space, drawn at random, and nothing else is run.
Such a supernet is good for one thing, to rank nets without training each (`Score`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from posefabric.architecture import Architecture
from posefabric.data.loader import Batch
from posefabric.errors import UserError
from posefabric.models.mixing import SampledMixing
from posefabric.models.net import sampled_mixings
from posefabric.settings import SearchSettings
from posefabric.strategies.candidates import Contest, Pool, as_mixture, decided_shares
from posefabric.strategies.protocol import Score, SingleLevel, StrategySetup

STREAM = 4
"""Keeps the training nets apart from what else is drawn from a seed."""


class OneShot(SingleLevel):
    """The weights learn a net at a time (SPOS); then candidates compete.

    A step's net is a function of the seed and the step. With `search.sampling` `fair` every operation of an edge and
    every input of a cell has its turn once in as many steps as there are (FairNAS, but each step is an update of its
    own); a cell's further inputs are drawn.
    """

    held_out: ClassVar[bool] = True  # they decide, and teach nothing

    def __init__(self, setup: StrategySetup) -> None:
        self._search, self._seed, self._record = setup.config.search, setup.config.seed, setup.record
        if self._search.budget is not None and self._search.cost_unit == "latency":
            found = f"search.strategy={self._search.strategy} with a budget of time"
            raise UserError("bad-value", found, "search.cost_unit=macs: single nets are compared by their MACs")
        super().__init__(setup, setup.build(sampled_mixings(setup.supernet)))
        self._pool = Pool(setup.supernet, self._search.budget, most_inputs(self._search))

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        with self._following(step):
            return super().step(weight_batch, architecture_batch, step)

    @contextmanager
    def _following(self, step: int) -> Iterator[None]:
        """Inside, the supernet is the net of a step."""
        random = np.random.default_rng([self._seed, step, STREAM])
        genes = self._pool.genes
        turns = genes.in_turn(self._seed, step) if self._search.sampling == "fair" else None
        genome = genes.draw(random, turns)
        genotypes = genes.genotypes(genome)
        shares = decided_shares(self._pool.supernet, genes.widths(genome))
        mixings = {n: m for n, m in self._weights.bare_net.mixing.items() if isinstance(m, SampledMixing)}
        for name, mixing in mixings.items():
            mixing.follow(genotypes[name], shares.get(name))
        try:
            yield
        finally:
            for mixing in mixings.values():
                mixing.forget()

    def choose(self, score: Score) -> Architecture:
        with Contest(score, self._record, self._pool, self._entrants()) as contest:
            self._compete(contest)
        return as_mixture(self._pool.supernet, contest.winner.architecture)

    @abstractmethod
    def _entrants(self) -> int:
        """How many nets are compared."""

    @abstractmethod
    def _compete(self, contest: Contest) -> None:
        """Enter them."""

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._seed = state["seed"]


class RandomSearch(OneShot):
    """The best of `search.candidates` random nets, inside the band of the budget where there is one."""

    def _entrants(self) -> int:
        return self._search.candidates

    def _compete(self, contest: Contest) -> None:
        for number in range(self._search.candidates):
            contest.enter(self._pool.draw(self._seed, number))


def most_inputs(settings: SearchSettings) -> int:
    """How many inputs a cell of a candidate may keep, 0 for all: as many as deriving would let it keep."""
    if settings.budget is not None:
        return 0
    return 1 if settings.derive == "path" else settings.max_inputs
