"""What a search strategy is, and what it is built from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from lightning_fabric import Fabric as Engine

from posefabric.architecture import Architecture
from posefabric.config import Config
from posefabric.data.loader import Batch
from posefabric.models.mixing import Mixing
from posefabric.models.net import PoseNet, mixture
from posefabric.optimization import WeightLearner
from posefabric.strategies.auxiliary import lend_skips
from posefabric.strategies.health import health, leaders

Score = Callable[[Architecture], float]


@dataclass(frozen=True)
class StrategySetup:
    """`supernet` is what may be chosen from; `num_steps` the length of the whole search.

    `initialise` gives a new net the pretrained weights that are asked for. `record` keeps what a strategy says of a
    candidate it scored.
    """

    engine: Engine
    supernet: Architecture
    config: Config
    num_steps: int
    initialise: Callable[[PoseNet], None] = lambda net: None
    record: Callable[[Mapping[str, Any]], None] = lambda row: None

    def build(self, mixings: Mapping[str, Mixing] | None = None) -> PoseNet:
        """The supernet that learning starts from."""
        net = PoseNet(self.supernet, mixings)
        self.initialise(net)
        return net


class Strategy(Protocol):
    """A search. It owns its net and optimizers; a run that saves its state resumes exactly."""

    held_out: ClassVar[bool]
    """Whether it needs persons that the weights do not learn from."""

    steps_on_held_out: ClassVar[bool]
    """Whether every step sees a batch of them; else they decide between nets at the end."""

    def __init__(self, setup: StrategySetup) -> None: ...

    @property
    def net(self) -> PoseNet:
        """The supernet as it stands."""
        ...

    @property
    def bare_net(self) -> PoseNet:
        """The supernet that learns, without its moving average."""
        ...

    def slow_down(self, factor: float) -> None:
        """Multiply all learning rates by a factor, from the next step on."""
        ...

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        """One learning step (0-based); what it measured."""
        ...

    def choose(self, score: Score) -> Architecture:
        """The architecture found: its multipliers are the mixture; `score` rates candidates where one must."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class SingleLevel:
    """What strategies share whose architecture, if it learns at all, learns in the weights' own step."""

    held_out: ClassVar[bool] = False
    steps_on_held_out: ClassVar[bool] = False

    def __init__(self, setup: StrategySetup, net: PoseNet, architecture_groups: Iterable[dict[str, Any]] = ()) -> None:
        config = setup.config
        self._weights = WeightLearner(setup.engine, net, config, config.search, setup.num_steps, architecture_groups)

    @property
    def net(self) -> PoseNet:
        return self._weights.best_net

    @property
    def bare_net(self) -> PoseNet:
        return self._weights.bare_net

    def slow_down(self, factor: float) -> None:
        self._weights.slow_down(factor)

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        before = leaders(self._weights.bare_net)
        skips = lend_skips(self._weights, step)
        return self._weights.step(weight_batch, step) | health(self._weights.bare_net, before) | skips

    def choose(self, score: Score) -> Architecture:
        return mixture(self.net)

    def state_dict(self) -> dict[str, Any]:
        return self._weights.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._weights.load_state_dict(state)
