"""People on photographs: stage 9 of the walk made visible (image pixels, numpy)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from posefabric.data.records import Image
from posefabric.draw.palette import RIM_COLOUR, SIDE_COLOURS
from posefabric.skeletons import Skeleton

LIMB_WIDTH = 0.014
"""Width of a limb as a share of the person's larger side."""

_SUBPIXEL_BITS = 4


def draw_people(
    image: Image,
    keypoints_xy: Float[np.ndarray, "N K 2"],
    scores: Float[np.ndarray, "N K"],
    skeleton: Skeleton,
    *,
    threshold: float = 0.3,
    scale: float = 1.0,
) -> Image:
    """A copy of an image, enlarged `scale` times, with a skeleton drawn on every person.

    `keypoints_xy` are pixels of the given image; `scores` may be scores or visibilities. Keypoints below
    `threshold` or not finite are not drawn, nor are limbs that end in one. The person's left is orange, the
    right blue, what joins both sides or neither is white.
    """
    canvas = _enlarged(image, scale)
    for points_xy, values in zip(keypoints_xy, scores, strict=True):
        drawn = (values >= threshold) & np.isfinite(points_xy).all(axis=1)
        if drawn.any():
            hollow = np.zeros(len(values), dtype=bool)
            extent_px = float(np.ptp(points_xy[drawn], axis=0).max()) * scale
            _draw_person(canvas, (points_xy + 0.5) * scale - 0.5, drawn, hollow, skeleton, extent_px)
    return canvas


def draw_labels(
    image: Image,
    keypoints_xy: Float[np.ndarray, "K 2"],
    visibility: Int[np.ndarray, " K"],
    skeleton: Skeleton,
    *,
    scale: float = 1.0,
    person_px: float,
) -> Image:
    """As `draw_people` for one person's labels: keypoints of visibility 1 are rings, of visibility 0 not drawn.

    Lines are as wide as suits a person of `person_px` pixels of the image, however little of it is labelled.
    """
    canvas = _enlarged(image, scale)
    points_xy = (keypoints_xy + 0.5) * scale - 0.5
    _draw_person(canvas, points_xy, visibility > 0, visibility == 1, skeleton, person_px * scale)
    return canvas


def contact_sheet(
    images: Sequence[Image],
    columns: int,
    *,
    height_px: int = 256,
    gap_px: int = 4,
    background: tuple[int, int, int] = (255, 255, 255),
) -> Image:
    """Images row by row, all resized to one height, `columns` to a row, packed from the left."""
    assert images
    assert columns > 0
    tiles = [_resized(image, height_px) for image in images]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    width = max(sum(tile.shape[1] + gap_px for tile in row) for row in rows) - gap_px
    height = len(rows) * (height_px + gap_px) - gap_px
    sheet: Image = np.full((height, width, 3), background, np.uint8)
    for index, row in enumerate(rows):
        top, left = index * (height_px + gap_px), 0
        for tile in row:
            sheet[top : top + height_px, left : left + tile.shape[1]] = tile
            left += tile.shape[1] + gap_px
    return sheet


def limb_side(skeleton: Skeleton, limb: tuple[str, ...]) -> str:
    """`"left"` or `"right"` where the keypoints of that side meet none of the other, else `"middle"`."""
    sides = {
        side
        for pair in skeleton.mirror_pairs
        for side, name in zip(("left", "right"), pair, strict=True)
        if name in limb
    }
    return sides.pop() if len(sides) == 1 else "middle"


def _enlarged(image: Image, scale: float) -> Image:
    """A copy, `scale` times as large."""
    canvas = np.ascontiguousarray(image)
    if scale == 1.0:
        return canvas.copy()
    return cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def _draw_person(
    canvas: Image,
    points_xy: Float[np.ndarray, "K 2"],
    drawn: Bool[np.ndarray, " K"],
    hollow: Bool[np.ndarray, " K"],
    skeleton: Skeleton,
    person_px: float,
) -> None:
    width = int(np.clip(round(LIMB_WIDTH * person_px), 1, max(1, max(canvas.shape) // 70)))
    rim = 1 + width // 4
    limbs = [
        (_fixed_point(points_xy[i]), _fixed_point(points_xy[j]), SIDE_COLOURS[limb_side(skeleton, names)])
        for (i, j), names in zip(skeleton.limb_indices, skeleton.limbs, strict=True)
        if drawn[i] and drawn[j]
    ]
    dots = [
        (_fixed_point(points_xy[k]), SIDE_COLOURS[limb_side(skeleton, (name,))], bool(hollow[k]))
        for k, name in enumerate(skeleton.keypoints)
        if drawn[k]
    ]
    for start, end, _ in limbs:
        cv2.line(canvas, start, end, RIM_COLOUR, width + 2 * rim, cv2.LINE_AA, _SUBPIXEL_BITS)
    for start, end, colour in limbs:
        cv2.line(canvas, start, end, colour, width, cv2.LINE_AA, _SUBPIXEL_BITS)
    for centre, colour, is_ring in dots:
        discs = [(width + rim, RIM_COLOUR), (width, colour)]
        if is_ring:
            discs = [(width + 2 * rim, RIM_COLOUR), (width + rim, colour), (max(width - 1, 1), RIM_COLOUR)]
        for radius, fill in discs:
            cv2.circle(canvas, centre, radius << _SUBPIXEL_BITS, fill, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed_point(point_xy: Float[np.ndarray, 2]) -> tuple[int, int]:
    x, y = np.clip(point_xy, -1e6, 1e6) * (1 << _SUBPIXEL_BITS)
    return round(float(x)), round(float(y))


def _resized(image: Image, height_px: int) -> Image:
    height, width = image.shape[:2]
    size = (max(1, round(width * height_px / height)), height_px)
    method = cv2.INTER_AREA if height_px < height else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=method)
