"""Random parts: as many, as large, as symmetric as before, and not the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefabric.errors import UserError
from posefabric.experiments.groups import random_groups
from posefabric.skeletons import COCO17, LSP14, MPII16, Skeleton, check_partition


def shared_by(partition: dict[str, tuple[str, ...]], skeleton: Skeleton) -> list[int]:
    return sorted(sum(name in names for names in partition.values()) for name in skeleton.keypoints)


@given(st.sampled_from([COCO17, MPII16, LSP14]), st.sampled_from(["3", "5", "8"]), st.integers(0, 50))
def test_sizes_symmetry_and_sharing_stay(skeleton: Skeleton, name: str, seed: int) -> None:
    partition = {part: tuple(names) for part, names in skeleton.partition(name).items()}
    drawn = random_groups(skeleton, partition, seed)
    check_partition(skeleton, drawn, "drawn")
    assert {part: len(names) for part, names in drawn.items()} == {part: len(n) for part, n in partition.items()}
    assert shared_by(drawn, skeleton) == shared_by(partition, skeleton)
    mirror = dict(zip(skeleton.keypoints, (skeleton.keypoints[i] for i in skeleton.flip_permutation), strict=True))
    parts = {frozenset(names) for names in drawn.values()}
    assert {frozenset(mirror[name] for name in part) for part in parts} == parts
    assert parts != {frozenset(names) for names in partition.values()}
    assert random_groups(skeleton, partition, seed) == drawn


def test_seeds_differ_and_the_head_does_not_stay_the_head() -> None:
    draws = [random_groups(LSP14, LSP14.partition("3"), seed) for seed in range(20)]
    assert len({str(draw) for draw in draws}) > 15
    assert any(set(draw["head"]) != {"neck", "head_top"} for draw in draws)


def test_one_part_cannot_be_drawn_anew() -> None:
    with pytest.raises(UserError, match="drawn anew"):
        random_groups(COCO17, COCO17.partition("1"), 0)
