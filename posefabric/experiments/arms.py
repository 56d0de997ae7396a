"""From an arm and a seed to the net that is trained: searched, changed, drawn or left whole, and made equally dear.

Where it stands in the walk: between the searches and the trainings of an experiment. Every arm ends in `matched`, so
that the one counter counts the same MACs for all of them, whatever they keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.backbone import FABRIC
from posefabric.budget import budget_macs
from posefabric.config import Config
from posefabric.errors import UserError
from posefabric.experiments.groups import random_groups
from posefabric.experiments.kinds import (
    Arm,
    Head,
    MadeByHand,
    Permuted,
    Random,
    RandomGroups,
    Searched,
    Shared,
    Uniform,
    WholeBody,
)
from posefabric.experiments.spec import Spec
from posefabric.handmade import Description, HandMade
from posefabric.models.cost import count
from posefabric.models.matching import matched
from posefabric.skeletons import Skeleton
from posefabric.strategies import strategy
from posefabric.strategies.candidates import Pool
from posefabric.strategies.derive import derivation

FoundBy = Callable[[str, int], Architecture]
"""Arm and seed -> the net that its search derived."""

DRAWS = 0
"""The seed of random architectures; their number tells them apart, so that more draws leave the first as they are."""


@dataclass(frozen=True)
class Nets:
    """The nets of an experiment on data with this skeleton."""

    spec: Spec
    skeleton: Skeleton

    def __post_init__(self) -> None:
        checked: set[str] = set()
        for name in self.spec.all_arms():
            config = self.spec.config(name)
            strategy(config.search.strategy)
            derivation(config.search.derive)
            whole = self.supernet(name, self.spec.seeds[0])
            if whole.backbone.name != FABRIC and documents.to_json(whole) not in checked:
                matched(whole.deployed(), self.macs)  # a cost that no widths give is told now
            checked.add(documents.to_json(whole))
            if isinstance(chosen := self.spec.all_arms()[name], MadeByHand):
                matched(self._handmade(name, chosen), self.macs)
            self._check_ranked(name, whole)

    def _check_ranked(self, name: str, whole: Architecture) -> None:
        """Draws are scored with the weights of a supernet that holds them."""
        by = getattr(self.spec.all_arms()[name], "ranked_by", None)
        if by is not None and self.supernet(by, self.spec.seeds[0]) != whole:
            raise UserError("bad-value", f"arms.{name} ranked by '{by}'", f"an arm with the supernet of '{name}'")

    @cached_property
    def macs(self) -> int:
        """What every net costs; a share is one of the recipe's own supernet."""
        config = self.spec.base_config()
        whole = config.model.supernet(self.skeleton, config.backbone.describe())
        return budget_macs(self.spec.budget, count(whole).macs)

    def supernet(self, arm: str, seed: int) -> Architecture:
        """What the search of an arm chooses from, and what it keeps whole where nothing is searched."""
        config, chosen = self.spec.config(arm), self.spec.all_arms()[arm]
        skeleton = self.skeleton
        if isinstance(chosen, RandomGroups):
            groups = random_groups(skeleton, skeleton.partition(config.model.parts), seed)
            skeleton = replace(skeleton, partitions={**skeleton.partitions, config.model.parts: groups})
        return config.model.supernet(skeleton, config.backbone.describe())

    def net(self, arm: str, seed: int, found_by: FoundBy) -> Description:
        """The net of an arm and a search seed (of random architectures: a draw), as dear as all others."""
        if isinstance(chosen := self.spec.all_arms()[arm], MadeByHand):
            return matched(self._handmade(arm, chosen), self.macs)
        return matched(self.chosen(arm, seed, found_by).deployed(), self.macs)

    def _handmade(self, arm: str, chosen: MadeByHand) -> HandMade:
        """Its net at the published widths."""
        config = self.spec.config(arm)
        return config.model.handmade(chosen.head, self.skeleton, config.backbone.describe())

    def chosen(self, arm: str, seed: int, found_by: FoundBy) -> Architecture:
        """What an arm of fabrics keeps, at the widths of its supernet; a random net is still in its space."""
        chosen, whole = self.spec.all_arms()[arm], self.supernet(arm, seed)
        if isinstance(chosen, Random):
            return self._pool(arm, whole).draw(DRAWS, seed).architecture
        source = arm if isinstance(chosen, Searched) else chosen.source
        found = found_by(source, seed) if source is not None else whole
        return KINDS[type(chosen)](whole, found, seed)

    def _pool(self, arm: str, whole: Architecture) -> Pool:
        """Where random nets of an arm are drawn from; what its choices cost is counted once."""
        if arm not in self._pools:
            settings = self.spec.config(arm).search
            self._pools[arm] = Pool(whole, settings.budget, settings.max_inputs)
        return self._pools[arm]

    @cached_property
    def _pools(self) -> dict[str, Pool]:
        return {}


def as_found(whole: Architecture, found: Architecture, seed: int) -> Architecture:
    """The net as its search derived it."""
    return found


def left_whole(whole: Architecture, found: Architecture, seed: int) -> Architecture:
    """The whole fabric at its full width, without what is lent to a search alone."""
    return whole.with_widths({}).deployed()


def tied(whole: Architecture, found: Architecture, seed: int) -> Architecture:
    """The net of a search whose parts shared their mixture; that all parts kept the same of it is checked."""
    first, *others = found.genotypes.values()
    if any(other != first for other in others):
        raise UserError(
            "bad-value",
            "parts that share a mixture kept different choices of it",
            "the same genotype for all parts",
            "Leave search.budget away: widths alone make nets equally dear.",
        )
    return found


def permuted(whole: Architecture, found: Architecture, seed: int) -> Architecture:
    """Every part with the genotype and the widths of another one."""
    parts = list(found.partition)
    givers = {part: parts[i] for part, i in zip(parts, derangement(len(parts), seed), strict=True)}
    return replace(
        found,
        genotypes={part: found.genotypes[giver] for part, giver in givers.items()},
        widths={part: found.widths[giver] for part, giver in givers.items()},
    )


def with_head(whole: Architecture, found: Architecture, seed: int) -> Architecture:
    """The same fabrics under the arm's own head."""
    return replace(found, vector_dim=whole.vector_dim, activation=whole.activation, fusion=whole.fusion)


def derangement(count: int, seed: int) -> list[int]:
    """A permutation that leaves nothing in its place, every one as likely as another; fewer than 2 have none."""
    if count < 2:
        raise UserError("bad-value", f"genotypes of {count} part to be permuted", "2 parts at least: arms.<name>.parts")
    random = np.random.default_rng([seed, 4])
    while True:
        order = random.permutation(count)
        if (order != np.arange(count)).all():
            found: list[int] = order.tolist()
            return found


KINDS: dict[type[Arm], Callable[[Architecture, Architecture, int], Architecture]] = {
    Searched: as_found,
    Shared: tied,
    WholeBody: as_found,
    RandomGroups: as_found,
    Permuted: permuted,
    Head: with_head,
    Uniform: left_whole,
}
"""Kind -> how its net comes from its own supernet, what was found, and the seed."""


def search_config(spec: Spec, arm: str, seed: int) -> Config:
    """The configuration of one search."""
    return spec.config(arm).model_copy(update={"seed": seed})


def train_config(spec: Spec, arm: str, seed: int, train_seed: int) -> Config:
    """The configuration of one training; the same seed for all arms, another for every net and repetition."""
    return spec.config(arm).model_copy(update={"seed": 1000 * seed + train_seed})
