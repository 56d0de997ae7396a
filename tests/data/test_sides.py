"""Left and right: shares are counted, exchanged pairs are found, consistent persons are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from posefabric.data import coco
from posefabric.data.guesses import placement, sides
from posefabric.skeletons import LSP14, Skeleton

PAIRS = tuple((f"left_{name}", f"right_{name}") for name in ("shoulder", "hip", "knee", "ankle"))
SKELETON = Skeleton(keypoints=tuple(name for pair in PAIRS for name in pair), mirror_pairs=PAIRS)


def crowd(count=400, seed=0):
    """Persons who face the camera or not; each pair is as wide as it happens to be, on the side the person faces."""
    rng = np.random.default_rng(seed)
    facing = np.where(rng.random(count) < 0.7, 1.0, -1.0)[:, None]
    half = 0.5 * facing * rng.uniform(0.1, 0.25, (count, 4))
    heights = np.linspace(-0.4, 0.4, 4)
    left = np.stack([half, np.broadcast_to(heights, half.shape)], axis=2)
    places = np.stack([left, left * (-1, 1)], axis=2).reshape(count, 8, 2)
    return places + 0.01 * rng.normal(size=places.shape), facing[:, 0]


def test_the_share_of_persons_seen_from_behind_is_counted():
    places, facing = crowd()
    for order in sides.pair_orders(SKELETON, places):
        assert order.left_first == pytest.approx((facing < 0).mean(), abs=0.02)
        assert order.left_xy[1] == pytest.approx(order.right_xy[1], abs=0.01)
        assert order.num_persons == len(places)
    places[:, SKELETON.index("left_knee")] = np.nan
    order = sides.pair_orders(SKELETON, places)[2]
    assert (order.left_first, order.num_persons) == (None, 0)


def test_consistent_persons_are_no_suspects():
    assert sides.suspects(SKELETON, crowd()[0]) == []


@pytest.mark.parametrize("exchanged", [["ankle"], ["knee", "ankle"]])
def test_an_exchanged_limb_is_found_whichever_way_the_person_faces(exchanged):
    places, facing = crowd()
    rows = [int(np.flatnonzero(facing > 0)[3]), int(np.flatnonzero(facing < 0)[3])]
    for name in exchanged:
        pair = [SKELETON.index(f"left_{name}"), SKELETON.index(f"right_{name}")]
        for row in rows:
            places[row, pair] = places[row, pair[::-1]]
    found = sides.suspects(SKELETON, places)
    assert sorted(suspect.row for suspect in found) == sorted(rows)
    turned = {frozenset(suspect.pairs) for suspect in found}
    wanted = frozenset((f"left_{name}", f"right_{name}") for name in exchanged)
    assert turned <= {wanted, frozenset(PAIRS) - wanted}  # of two halves that disagree, either may be wrong


def test_missing_keypoints_neither_hide_nor_make_suspects():
    places, _ = crowd()
    rng = np.random.default_rng(1)
    places[rng.random(places.shape[:2]) < 0.2] = np.nan
    assert sides.suspects(SKELETON, places) == []
    row = int(np.flatnonzero(np.isfinite(places).all(axis=(1, 2)))[0])
    places[row, 6:] = places[row, [7, 6]]
    assert [suspect.row for suspect in sides.suspects(SKELETON, places)] == [row]


def test_too_little_to_judge_by():
    places, _ = crowd()
    assert sides.suspects(SKELETON, places[:20]) == []
    assert sides.suspects(SKELETON, np.full_like(places, np.nan)) == []
    assert sides.suspects(Skeleton(keypoints=("a", "b")), places[:, :2]) == []


@pytest.mark.real_data
def test_limbs_exchanged_on_purpose_stand_out_among_photographs(real_data):
    people = coco.load(real_data / "lspet" / "person_keypoints_train.json")
    places = placement.place(people.persons, LSP14.num_keypoints)
    before = {suspect.row for suspect in sides.suspects(LSP14, places)}
    rows = set(range(0, len(places), 20)) - before
    pairs = [[LSP14.index(f"left_{name}"), LSP14.index(f"right_{name}")] for name in ("ankle", "wrist", "elbow")]
    exchanged = set()
    for row in rows:
        pair = pairs[row // 20 % 3]
        if np.linalg.norm(places[row, pair[0]] - places[row, pair[1]]) > 0.2:
            places[row, pair] = places[row, pair[::-1]]
            exchanged.add(row)
    after = {suspect.row for suspect in sides.suspects(LSP14, places)}
    assert len(after & exchanged) >= 0.4 * len(exchanged)
    assert len(after - before - exchanged) <= 0.05 * len(after)
