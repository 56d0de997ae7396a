"""Search strategies: how alpha and beta are chosen, each one class behind one protocol.

`protocol` says what a strategy is; `gradient` holds those that learn logits, `second_order` and `gumbel` what differs
through the weights' step and by drawing, `sampling` those that do not learn, `one_shot` and `evolution` those that
compare single nets (`genes`, `candidates`); `terms` may join the loss and `health` is
what every step reports; `derive` turns the mixture a strategy found into a net.
"""

from __future__ import annotations

from posefabric.errors import unknown_name
from posefabric.strategies.evolution import Evolution
from posefabric.strategies.gradient import FirstOrder, Synchronous
from posefabric.strategies.gumbel import Gumbel, GumbelHard
from posefabric.strategies.one_shot import RandomSearch
from posefabric.strategies.protocol import Strategy
from posefabric.strategies.sampling import Random, Uniform
from posefabric.strategies.second_order import SecondOrder

STRATEGIES: dict[str, type[Strategy]] = {
    "sync": Synchronous,
    "first-order": FirstOrder,
    "second-order": SecondOrder,
    "gumbel": Gumbel,
    "gumbel-hard": GumbelHard,
    "uniform": Uniform,
    "random": Random,
    "random-k": RandomSearch,
    "evolution": Evolution,
}
"""Name on the command line -> class."""


def strategy(name: str) -> type[Strategy]:
    """A strategy's class by name. An unknown name raises `UserError`."""
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, tuple(STRATEGIES))
    return STRATEGIES[name]
