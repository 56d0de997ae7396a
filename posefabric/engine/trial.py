"""A supernet on trial: what is left of its mixture is scored with its weights, and they may follow each decision."""

from __future__ import annotations

import copy

from posefabric.architecture import Architecture
from posefabric.engine.bench import Bench
from posefabric.engine.inheritance import derived_net
from posefabric.models.net import PoseNet
from posefabric.optimization import WeightLearner
from posefabric.settings import Optimization, SearchSettings
from posefabric.strategies.perturbation import Judge


class Trial:
    """`net` starts as the supernet; with `search.perturbation_tuning` it becomes a copy that learns between decisions.

    Norms need nothing here: scores are those of recalibrated nets.
    """

    def __init__(self, bench: Bench, supernet: PoseNet) -> None:
        self.net = supernet
        self._bench, self._scoring, self._done = bench, bench.scoring(supernet), 0

    @property
    def judge(self) -> Judge:
        """What decides which choices are missed most."""
        return Judge(self._score, self._settle, self._bench.config.seed)

    def _score(self, left: Architecture) -> float:
        return self._scoring(left)

    def _settle(self, left: Architecture) -> None:
        """Tune what is left, on batches that were not used for tuning before."""
        config, steps = self._bench.config, self._bench.config.search.perturbation_tuning
        if not steps:
            return
        if self._done == 0:
            self.net = copy.deepcopy(self.net)
            self._scoring = self._bench.scoring(self.net)
        net = derived_net(left, self.net)
        learner = WeightLearner(self._bench.engine, net, config, _tuning(config.search), steps)
        for step, batch in enumerate(self._bench.weight_batches(steps, self._done)):
            learner.step(batch, step)
        self.net.load_state_dict({**self.net.state_dict(), **net.state_dict()})
        self._scoring.forget()
        self._done += steps


def _tuning(settings: SearchSettings) -> Optimization:
    """A tenth of the rate, held constant (DARTS-PT)."""
    return settings.model_copy(update={"lr": settings.lr / 10, "schedule": "constant", "warmup": 0.0, "ema_decay": 0.0})
