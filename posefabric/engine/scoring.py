"""What an architecture is worth before it is trained: its net with a supernet's weights, on persons they never saw.

Strategies that choose among nets ask for such scores, and so does whoever drops choices one by one. Validation and
test persons have no part in it: what decides is not what is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from posefabric import documents, ranks
from posefabric.architecture import Architecture
from posefabric.config import Config
from posefabric.data.loader import Batch, training_batches
from posefabric.data.records import People
from posefabric.engine.inheritance import derived_net, recalibrate
from posefabric.engine.loop import Plan, Source
from posefabric.errors import UserError
from posefabric.models.net import PoseNet
from posefabric.optimization import heatmap_objective
from posefabric.predictor import crop_settings
from posefabric.strategies import strategy

SHUFFLE = 1
"""Keeps the division of the persons apart from what else is drawn from a seed."""


class Shares(NamedTuple):
    """Which training persons (indices, in a drawn order) teach the weights, and which are held out for the choices."""

    weights: list[int]
    held_out: list[int]

    @staticmethod
    def of(config: Config, count: int) -> Shares:
        """Disjoint shares of `count` persons; nobody is held out for a strategy that does without.

        A share that is less than half a person raises `UserError("bad-value")`.
        """
        order = np.random.default_rng([config.seed, SHUFFLE]).permutation(count).tolist()
        if not strategy(config.search.strategy).held_out:
            return Shares(order, [])
        cut = count - round(config.search.architecture_share * count)
        if cut == count:
            found = f"search.architecture_share={config.search.architecture_share} of {count} persons"
            raise UserError("bad-value", found, "one person at least")
        return Shares(order[:cut], order[cut:])


def _as_it_is(batch: Batch) -> Batch:
    return batch


class Scoring:
    """Called with an architecture: minus the heatmap loss of its net with a supernet's weights, so higher is better.

    The net inherits its weights, its norms are recalibrated on `search.recalibration_batches` batches from which the
    weights learn, and the loss is that of un-augmented crops of `search.score_persons` persons: of those held out for
    the architecture, or where the strategy holds nobody out, of those that taught the weights. A function of weights,
    configuration and persons alone; an architecture is measured once. `noted` sees every batch that is loaded.
    """

    def __init__(
        self, supernet: PoseNet, config: Config, train: People, noted: Callable[[Batch], Batch] = _as_it_is
    ) -> None:
        self.supernet, self.config, self.people = supernet, config, train
        self._noted = noted
        self._device = next(supernet.parameters()).device
        self._shares = Shares.of(config, len(train))
        self._found: dict[str, float] = {}

    def __call__(self, architecture: Architecture) -> float:
        name = documents.to_json(architecture)
        if name not in self._found:
            net = derived_net(architecture, self.supernet).to(self._device)
            recalibrate(net, self.calibration)
            self._found[name] = -self.loss(net)
        return self._found[name]

    def forget(self) -> None:
        """The supernet's weights have changed: what was measured no longer holds."""
        self._found.clear()

    @torch.no_grad()
    def loss(self, net: PoseNet) -> float:
        """The mean heatmap loss of any net on the persons that decide; the net is left in eval mode."""
        net.eval()
        losses = np.zeros(len(self.persons))
        for index in range(ranks.rank(), len(losses), ranks.size()):
            losses[index] = heatmap_objective(net, self.persons[index], self.config.data.sigma_px)
        ranks.add_up(losses)
        return float(losses.mean())

    @cached_property
    def calibration(self) -> list[Batch]:
        """What norms are recalibrated on."""
        search, count = self.config.search, self.config.search.recalibration_batches
        view = crop_settings(self.config, self.supernet.architecture, augmented=True)
        indices = self._shares.weights
        size = min(search.batch_size, len(indices))
        source = Source(self.people, view, size, self.config.data.num_workers, self.config.seed, indices)
        return self._loaded(source.batches(Plan(count, max(count, 1)), 0))

    @cached_property
    def persons(self) -> list[Batch]:
        """Those that decide, in whole batches; a damaged image is replaced as in training."""
        indices = (self._shares.held_out or self._shares.weights)[: self.config.search.score_persons]
        size = min(self.config.evaluation.batch_size, len(indices))
        batches = training_batches(
            self.people,
            crop_settings(self.config, self.supernet.architecture, augmented=False),
            indices=indices,
            batch_size=size,
            seed=self.config.seed,
            num_steps=len(indices) // size,
            num_workers=self.config.data.num_workers,
        )
        return self._loaded(batches)

    def _loaded(self, batches: Iterable[Batch]) -> list[Batch]:
        return [self._noted(batch).to(self._device) for batch in batches]
