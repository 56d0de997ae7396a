"""Frames and the maps between them, numpy: image to crop pixels (stage 2 of the walk) and back (stage 9).

The pixel convention, stated once for the whole package: points are (x, y) floats, 0-based, and the *centre*
of the first pixel is (0, 0), so a picture W wide has pixel centres at 0 ... W-1 and a horizontal flip is x ->
W-1-x. The unit of length is the spacing between pixel centres, so a picture W wide is W-1 long, and resizing
it to w multiplies x by (w-1)/(W-1). With this unit flipping commutes with cropping and with resizing
(unbiased data processing, Huang et al., CVPR 2020). Boxes are (x1, y1, x2, y2), continuous extents.

A map is a (2, 3) affine matrix that takes column vectors (x, y, 1).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

Matrix = Float[np.ndarray, "*batch 2 3"]
Box = Float[np.ndarray, "4"]

DEFAULT_MARGIN = 1.25
"""The crop is this many times the person's box, as in the paper's code."""


def crop_matrix(
    bbox_xyxy: Box,
    input_hw: tuple[int, int],
    *,
    margin: float = DEFAULT_MARGIN,
    rotation_deg: float = 0.0,
    scale: float = 1.0,
    flip: bool = False,
) -> Float[np.ndarray, "2 3"]:
    """The map image -> crop that shows a person's box in the middle of a network input: one similarity.

    The box is grown to the input's aspect ratio, then `margin` x `scale` times (scale 1.3 shows the person
    smaller); a side counts as at least one pixel. `rotation_deg` turns the person about the box's centre,
    clockwise as seen. `flip` mirrors the finished crop.
    """
    size = np.array([input_hw[1] - 1, input_hw[0] - 1], dtype=np.float64)
    corners = np.asarray(bbox_xyxy, dtype=np.float64).reshape(2, 2)
    sides = np.maximum(corners[1] - corners[0], 1.0)
    zoom = (size / sides).min() / (margin * scale)
    angle = np.deg2rad(rotation_deg)
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    if flip:
        linear[0] *= -1
    # The crop's centre is its own mirror image, so the flip leaves the translation's form alone.
    return np.column_stack([linear, size / 2 - linear @ corners.mean(axis=0)])


def invert(matrix: Matrix) -> Matrix:
    """The map that undoes `matrix`, one or a batch of them."""
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


def compose(second: Matrix, first: Matrix) -> Matrix:
    """The map that applies `first`, then `second`."""
    matrix: Matrix = second[..., :2] @ first
    matrix[..., 2] += second[..., 2]
    return matrix


def transform_points(points_xy: Float[np.ndarray, "*batch N 2"], matrix: Matrix) -> Float[np.ndarray, "*batch N 2"]:
    """Points in the frame that `matrix` leads to; with a batch of matrices, a batch of point sets."""
    moved: np.ndarray = points_xy @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]
    return moved


def zoom_of(matrix: Float[np.ndarray, "2 3"]) -> float:
    """How many target pixels one source pixel becomes, per axis (the root of the area ratio)."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def grow_box(bbox_xyxy: Box, factor: float) -> Box:
    """The box with both sides multiplied by `factor` about its centre."""
    corners = np.asarray(bbox_xyxy, dtype=np.float64).reshape(2, 2)
    centre = corners.mean(axis=0)
    grown: Box = (centre + factor * (corners - centre)).reshape(4)
    return grown


def keypoints_box(keypoints_xy: Float[np.ndarray, "K 2"], visibility: Int[np.ndarray, " K"]) -> Box:
    """The tight box of the labelled keypoints (visibility above 0), of which there must be one."""
    labelled = keypoints_xy[visibility > 0]
    assert len(labelled), "a box needs at least one labelled keypoint"
    return np.concatenate([labelled.min(axis=0), labelled.max(axis=0)])


def inside(points_xy: Float[np.ndarray, "*N 2"], hw: tuple[int, int]) -> np.ndarray:
    """Which points lie between the first and the last pixel centres of a picture of that size, bool `*N`."""
    return np.asarray(((points_xy >= 0) & (points_xy <= np.array([hw[1] - 1, hw[0] - 1]))).all(axis=-1))
