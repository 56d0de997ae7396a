"""Search strategies: how alpha and beta are chosen, each one class behind one protocol.

`protocol` says what a strategy is; `gradient` holds those that learn logits, `sampling` those that do not; `derive`
turns the mixture a strategy found into a net.
"""

from __future__ import annotations

from posefabric.errors import unknown_name
from posefabric.strategies.gradient import FirstOrder, Synchronous
from posefabric.strategies.protocol import Strategy
from posefabric.strategies.sampling import Random, Uniform

STRATEGIES: dict[str, type[Strategy]] = {
    "sync": Synchronous,
    "first-order": FirstOrder,
    "uniform": Uniform,
    "random": Random,
}
"""Name on the command line -> class."""


def strategy(name: str) -> type[Strategy]:
    """A strategy's class by name. An unknown name raises `UserError`."""
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, tuple(STRATEGIES))
    return STRATEGIES[name]
