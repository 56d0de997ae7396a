"""Evolution over the single nets of a supernet that was trained a net at a time."""

from __future__ import annotations

import importlib.util

from posefabric.errors import UserError
from posefabric.strategies.candidates import Contest
from posefabric.strategies.one_shot import OneShot
from posefabric.strategies.protocol import StrategySetup


class Evolution(OneShot):
    """Regularised evolution (Real et al., 2019), or NSGA-II (Deb et al., 2002) of score against MACs.

    Both begin with `search.population` random nets and compare `search.evaluations` different ones in all. With a
    budget regularised evolution stays in its band; NSGA-II looks at all nets up to it, and the best in the band wins.
    """

    def __init__(self, setup: StrategySetup) -> None:
        super().__init__(setup)
        if importlib.util.find_spec("optuna") is None:
            found = "search.strategy=evolution, and Optuna is not installed"
            raise UserError("bad-value", found, todo="pip install 'posefabric[sweep]', or choose another strategy")
        if self._pool.draw(self._seed, 0).genome is None:
            raise UserError(
                "bad-value",
                f"search.strategy=evolution with the budget {self._search.budget}",
                "a budget that nets of one operation per edge reach",
                "give another budget, or another strategy",
            )

    def _entrants(self) -> int:
        return self._search.evaluations

    def _compete(self, contest: Contest) -> None:
        from posefabric.strategies.populations import evolve  # Optuna is no dependency of the others

        evolve(self._pool, contest, self._search, self._seed)
