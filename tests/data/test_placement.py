"""Many persons in the frame of their boxes: distances, doubted pairs, sigmas from repeated labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefabric.data.guesses import placement
from posefabric.data.records import PersonRecord
from posefabric.skeletons import Skeleton

SKELETON = Skeleton(keypoints=("nose", "left_ear", "right_ear"), mirror_pairs=(("left_ear", "right_ear"),))


def person(keypoints, *, box=(0, 0, 100, 200), visibility=None, image_id=1):
    points = np.array(keypoints, dtype=np.float64)
    visible = np.full(len(points), 2) if visibility is None else np.array(visibility)
    return PersonRecord(image_id, 1, np.array(box, dtype=np.float64), points, visible, area=10_000.0)


@given(st.floats(0.5, 20), st.floats(-500, 500), st.floats(-500, 500))
def test_places_are_the_same_wherever_and_however_large_a_person_is(scale, x, y):
    first = person([[50, 10], [30, 20], [70, 20]], visibility=[2, 1, 0])
    shift = np.array([x, y])
    moved = replace(
        first,
        bbox_xyxy=first.bbox_xyxy * scale + np.tile(shift, 2),
        keypoints_xy=first.keypoints_xy * scale + shift,
    )
    places = placement.place([first, moved], 3)
    np.testing.assert_allclose(places[1], places[0], atol=1e-9)
    np.testing.assert_allclose(places[0], [[0, -0.45], [-0.1, -0.4], [np.nan, np.nan]])


def test_distances_count_the_persons_who_have_both():
    people = [person([[0, 0], [0, 20], [0, 40]]), person([[0, 0], [0, 60], [0, 40]], visibility=[2, 2, 0])]
    distances = placement.mean_distances(placement.place(people, 3))
    np.testing.assert_allclose(distances, [[0, 0.2, 0.2], [0.2, 0, 0.1], [0.2, 0.1, 0]])
    alone = placement.mean_distances(placement.place([person([[0, 0]] * 3, visibility=[1, 1, 0])], 3))
    assert np.isinf(alone[0, 2])
    assert placement.mean_distances(placement.place([], 3)).shape == (3, 3)


def herd(right_height, count=60, facing=0.0, seed=0):
    rng = np.random.default_rng(seed)
    left, right = np.array([0.2 + facing, -0.3]), np.array([-0.2 + facing, right_height])
    return np.stack(
        [
            rng.normal((0, -0.4), 0.05, (count, 2)),
            rng.normal(left, 0.05, (count, 2)),
            rng.normal(right, 0.05, (count, 2)),
        ],
        1,
    )


def test_pairs_that_lie_as_mirror_images_are_not_doubted():
    assert placement.doubt_pairs(SKELETON, herd(-0.3)) == []
    from_the_side = herd(-0.3)
    from_the_side[:, 2] = from_the_side[:, 1] + 0.01
    assert placement.doubt_pairs(SKELETON, from_the_side) == []


def test_pairs_that_do_not_are_doubted_with_a_reason():
    (doubt,) = placement.doubt_pairs(SKELETON, herd(0.4))
    assert (doubt.left, doubt.right) == SKELETON.mirror_pairs[0]
    assert "of the person's longer side" in doubt.reason
    spread = herd(-0.3)
    spread[:, 2] = (spread[:, 2] - spread[:, 2].mean(0)) * 5 + spread[:, 2].mean(0)
    assert "spread" in placement.doubt_pairs(SKELETON, spread)[0].reason
    assert placement.doubt_pairs(SKELETON, herd(0.4, count=5)) == []


@pytest.mark.parametrize("swaps", [0.0, 0.1])
def test_sigmas_of_two_annotators_are_found_again_even_with_exchanged_sides(swaps):
    rng = np.random.default_rng(3)
    sigmas = np.array([0.03, 0.06, 0.09])
    people = []
    for image_id in range(1000):
        truth = rng.uniform(20, 80, (3, 2)) * (1, 2)
        noise = (
            rng.normal(size=(2, 3, 2)) * sigmas[:, None] * 100 / np.sqrt(2)
        )  # sigma^2 is the mean of the squared distance
        first, second = truth + noise
        if rng.random() < swaps:
            second[[1, 2]] = second[[2, 1]]
        people += [person(first, image_id=image_id), person(second, image_id=image_id)]
    estimated = placement.estimate_sigmas(people, SKELETON)
    np.testing.assert_allclose(estimated, sigmas, rtol=0.15)


def test_without_repeated_labels_nothing_is_estimated():
    people = [person([[50, 10], [30, 20], [70, 20]], image_id=i) for i in range(100)]
    assert placement.estimate_sigmas(people, SKELETON) is None
    two_persons = [person([[50, 150], [30, 20], [70, 190]], image_id=i) for i in range(100)]
    assert placement.estimate_sigmas(people + two_persons, SKELETON) is None
