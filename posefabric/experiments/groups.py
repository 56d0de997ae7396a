"""Parts by chance: a partition of the same sizes and symmetry as another, its keypoints drawn. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from posefabric.errors import UserError
from posefabric.skeletons import Partition, Skeleton

Owners = frozenset[str]
ATTEMPTS = 1000


def random_groups(skeleton: Skeleton, partition: Partition, seed: int) -> dict[str, tuple[str, ...]]:
    """The partition with other keypoints in its parts, each part as large as before.

    Mirror pairs take the places of pairs: both in one part, or each in one of two parts that mirror each other, so that
    the result is closed under mirroring as the partition is; keypoints without a mirror image may take the places of a
    pair in one part. Keypoints that parts share stay as many. Never the partition itself; where there is no other,
    `UserError("bad-value")`.
    """
    random = np.random.default_rng([seed, 3])
    owners = {
        name: frozenset(part for part, names in partition.items() if name in names) for name in skeleton.keypoints
    }
    before = {part: frozenset(names) for part, names in partition.items()}
    for _ in range(ATTEMPTS):
        placed = _placed(skeleton, owners, random)
        found = {part: tuple(n for n in skeleton.keypoints if part in placed.get(n, ())) for part in partition}
        if placed and {frozenset(names) for names in found.values()} != set(before.values()):
            return found
    raise UserError("bad-value", f"random groups of the parts {', '.join(partition)}", "parts that can be drawn anew")


def _placed(skeleton: Skeleton, owners: dict[str, Owners], random: np.random.Generator) -> dict[str, Owners]:
    """Keypoint -> the parts it gets, all places filled; empty where this draw leaves a keypoint over."""
    pairs = [tuple(random.permutation(pair).tolist()) for pair in skeleton.mirror_pairs]
    single = [(name,) for name in skeleton.keypoints if all(name not in pair for pair in skeleton.mirror_pairs)]
    split = [(owners[left], owners[right]) for left, right in skeleton.mirror_pairs if owners[left] != owners[right]]
    room = Counter(owners.values())
    for left, right in split:
        room[left], room[right] = room[left] - 1, room[right] - 1
    pairs = [pairs[i] for i in random.permutation(len(pairs))]
    placed = {
        name: place for pair, sides in zip(pairs, split, strict=False) for name, place in zip(pair, sides, strict=True)
    }
    for orbit in _shuffled([*pairs[len(split) :], *single], random):
        free = [place for place in room if room[place] >= len(orbit)]
        if not free:
            return {}
        place = free[int(random.integers(len(free)))]
        room[place] -= len(orbit)
        placed |= dict.fromkeys(orbit, place)
    return placed


def _shuffled(orbits: Sequence[tuple[str, ...]], random: np.random.Generator) -> list[tuple[str, ...]]:
    return [orbits[i] for i in random.permutation(len(orbits))]
