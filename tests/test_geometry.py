"""Frames: round trips, and what the crop matrix promises about box, margin, rotation and flip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefabric import geometry

coordinates = st.floats(-500, 3000)
sides = st.floats(2, 1500)
boxes = st.builds(lambda x, y, w, h: np.array([x, y, x + w, y + h]), coordinates, coordinates, sides, sides)
sizes = st.tuples(st.integers(32, 400), st.integers(32, 400))
turns = st.floats(-180, 180)
scales = st.floats(0.5, 2)


def corners(box):
    x1, y1, x2, y2 = box
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


@given(boxes, sizes, turns, scales, st.booleans())
def test_points_return_from_the_crop(box, input_hw, turn, scale, flip):
    matrix = geometry.crop_matrix(box, input_hw, rotation_deg=turn, scale=scale, flip=flip)
    there = geometry.transform_points(corners(box), matrix)
    np.testing.assert_allclose(
        geometry.transform_points(there, geometry.invert(matrix)), corners(box), rtol=0, atol=1e-9 * 4000
    )
    identity = geometry.compose(geometry.invert(matrix), matrix)
    np.testing.assert_allclose(identity[:, :2], np.eye(2), atol=1e-9)


@given(boxes, sizes, turns, scales)
def test_flip_mirrors_the_finished_crop(box, input_hw, turn, scale):
    plain = geometry.crop_matrix(box, input_hw, rotation_deg=turn, scale=scale)
    flipped = geometry.crop_matrix(box, input_hw, rotation_deg=turn, scale=scale, flip=True)
    mirror = np.array([[-1.0, 0, input_hw[1] - 1], [0, 1, 0]])
    np.testing.assert_allclose(flipped, geometry.compose(mirror, plain), atol=1e-8)


@given(boxes, sizes, st.floats(1, 2))
def test_the_box_fills_the_crop_up_to_the_margin(box, input_hw, margin):
    seen = geometry.transform_points(corners(box), geometry.crop_matrix(box, input_hw, margin=margin))
    size = np.array([input_hw[1] - 1, input_hw[0] - 1])
    filled = (seen.max(axis=0) - seen.min(axis=0)) / size
    assert filled.max() == pytest.approx(1 / margin)  # one axis exactly, the other is grown
    np.testing.assert_allclose((seen.max(axis=0) + seen.min(axis=0)) / 2, size / 2, atol=1e-7)


@given(boxes, sizes, turns, scales)
def test_rotation_and_scale_act_about_the_boxs_centre(box, input_hw, turn, scale):
    matrix = geometry.crop_matrix(box, input_hw, rotation_deg=turn, scale=scale)
    plain = geometry.crop_matrix(box, input_hw)
    centre = corners(box).mean(axis=0, keepdims=True)
    expected = [[(input_hw[1] - 1) / 2, (input_hw[0] - 1) / 2]]
    np.testing.assert_allclose(geometry.transform_points(centre, matrix), expected, atol=1e-7)
    assert geometry.zoom_of(matrix) == pytest.approx(geometry.zoom_of(plain) / scale)


def test_a_positive_rotation_is_clockwise_as_seen():
    matrix = geometry.crop_matrix(np.array([0.0, 0, 10, 10]), (65, 65), rotation_deg=90)
    above, centre = geometry.transform_points(np.array([[5.0, 0], [5, 5]]), matrix)
    assert above[0] > centre[0]
    assert above[1] == pytest.approx(centre[1])


def test_a_box_without_extent_still_has_a_crop():
    assert np.isfinite(geometry.crop_matrix(np.array([7.0, 9, 7, 9]), (256, 192))).all()


def test_batches_of_matrices_transform_batches_of_points():
    rng = np.random.default_rng(0)
    matrices, points = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 5, 2))
    each = [geometry.transform_points(p, m) for p, m in zip(points, matrices, strict=True)]
    np.testing.assert_allclose(geometry.transform_points(points, matrices), each)
    inverses = geometry.invert(matrices)
    np.testing.assert_allclose(geometry.transform_points(np.array(each), inverses), points, atol=1e-9)


def test_the_box_of_keypoints_ignores_unlabelled_ones():
    keypoints = np.array([[5.0, 6], [1, 9], [-100, 900]])
    box = geometry.keypoints_box(keypoints, np.array([2, 1, 0]))
    np.testing.assert_array_equal(box, [1, 6, 5, 9])
    np.testing.assert_array_equal(geometry.grow_box(box, 2), [-1, 4.5, 7, 10.5])


def test_inside_counts_the_first_and_last_pixel_centres():
    points = np.array([[0.0, 0], [9, 4], [9.01, 4], [0, -0.01]])
    np.testing.assert_array_equal(geometry.inside(points, (5, 10)), [True, True, False, False])
