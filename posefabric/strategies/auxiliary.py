"""Auxiliary skips, lent to a search and taken back: every edge also passes on its input, by less and less (DARTS-).

A skip helps a supernet train whatever it is worth in a derived net, and this help is what alpha would reward. With a
skip beside the mixture there is nothing to be gained from one inside it; at the end nothing of it is left.
"""

from __future__ import annotations

import logging
import math

from posefabric.models.net import PoseNet
from posefabric.optimization import WeightLearner
from posefabric.strategies.health import learns_mixtures, softmax_mixings_of

logger = logging.getLogger(__name__)


def skip_weight(schedule: str, step: int, num_steps: int) -> float:
    """The weight in step `step` (0-based) of `num_steps`: 1 in the first, 0 in the last.

    `schedule`: `"linear"`, `"cosine"`, or `"none"`, which lends nothing.
    """
    progress = step / (num_steps - 1) if num_steps > 1 else 1.0
    if schedule == "none":
        return 0.0
    return (1 + math.cos(math.pi * progress)) / 2 if schedule == "cosine" else 1 - progress


def lend_skips(learner: WeightLearner[PoseNet], step: int) -> dict[str, float]:
    """Give a supernet, and its moving average, the skips of a step; their weight, where there are any."""
    lent = {}
    for net in (learner.bare_net, learner.best_net):
        for mixing in softmax_mixings_of(net):
            mixing.auxiliary_skip = skip_weight(mixing.space.auxiliary_skip, step, learner.num_steps)
            if mixing.space.auxiliary_skip != "none":
                lent["auxiliary_skip"] = mixing.auxiliary_skip
    return lent


def check_skips(net: PoseNet, strategy: str) -> None:
    """Warn where auxiliary skips are asked for and nothing is chosen."""
    asked = any(space.auxiliary_skip != "none" for space, _ in net.architecture.fabrics().values())
    if asked and not learns_mixtures(net):
        logger.warning("auxiliary_skip has no effect: the strategy %s has no mixtures of operations", strategy)
