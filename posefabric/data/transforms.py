"""Stage 2 of the walk: a person's record and image become a sample, cut out and augmented, numpy.

Everything geometric (crop, scale, rotation, flip) is one matrix and one interpolation. All randomness comes
from the generator that is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int

from posefabric import geometry
from posefabric.data.records import Image, PersonRecord
from posefabric.settings import Augmentation
from posefabric.skeletons import Skeleton

HALF_BODY_MIN_KEYPOINTS = 9
"""A person needs this many labelled keypoints before half of them may be cut away (HRNet's training code)."""


@dataclass(frozen=True)
class Sample:
    """One person in the crop's frame: `keypoints_xy` in crop pixels, `visibility` 0 outside the crop.

    `crop_to_image` leads points back to the image. In a flipped sample, row k is the keypoint that is named k
    in the mirrored picture.
    """

    image: Image
    keypoints_xy: Float[np.ndarray, "K 2"]
    visibility: Int[np.ndarray, " K"]
    crop_to_image: Float[np.ndarray, "2 3"]


def make_sample(
    record: PersonRecord,
    image: Image,
    skeleton: Skeleton,
    input_hw: tuple[int, int],
    *,
    margin: float = geometry.DEFAULT_MARGIN,
    augmentation: Augmentation | None = None,
    rng: np.random.Generator | None = None,
) -> Sample:
    """Cut a person out of an image into a network input of `input_hw`.

    Without an augmentation the crop is the record's box grown by `margin`; with one, `rng` is needed and the
    sample is a function of its state.
    """
    if augmentation is None:
        matrix, flip = geometry.crop_matrix(record.bbox_xyxy, input_hw, margin=margin), False
        crop = warp(image, matrix, input_hw)
    else:
        assert rng is not None, "an augmentation needs a random generator"
        matrix, flip = _random_crop(record, skeleton, input_hw, margin, augmentation, rng)
        crop = _cutout(_recolour(warp(image, matrix, input_hw), augmentation, rng), augmentation, rng)
    keypoints_xy = geometry.transform_points(record.keypoints_xy, matrix)
    visibility = np.where(geometry.inside(keypoints_xy, input_hw), record.visibility, 0)
    if flip:
        order = list(skeleton.flip_permutation)
        keypoints_xy, visibility = keypoints_xy[order], visibility[order]
    return Sample(crop, keypoints_xy, visibility, geometry.invert(matrix))


def warp(image: Image, matrix: Float[np.ndarray, "2 3"], output_hw: tuple[int, int]) -> Image:
    """The image seen through `matrix` (image -> output pixels), bilinear; black beyond the image's border.

    When it shrinks by 2 or more, blocks of whole pixels are averaged first, so nothing aliases.
    """
    block = min(int(1 / geometry.zoom_of(matrix)), *image.shape[:2])
    if block >= 2:
        image, matrix = _average_blocks(image, matrix, output_hw, block)
    warped: Image = cv2.warpAffine(image, matrix, (output_hw[1], output_hw[0]), flags=cv2.INTER_LINEAR)
    return warped


def _average_blocks(
    image: Image, matrix: Float[np.ndarray, "2 3"], output_hw: tuple[int, int], block: int
) -> tuple[Image, Float[np.ndarray, "2 3"]]:
    """The part that the output shows, `block` times smaller, and its map to the output.

    Blocks are counted from the image's corner, so what a pixel becomes does not depend on the part.
    """
    height, width = output_hw
    corners = geometry.transform_points(
        np.array([[0.0, 0], [width, 0], [0, height], [width, height]]), geometry.invert(matrix)
    )
    size = np.array([image.shape[1], image.shape[0]]) // block
    first = np.clip(np.floor(corners.min(axis=0) / block).astype(int) - 2, 0, size - 1)  # 2: what interpolation reads
    last = np.clip(np.ceil(corners.max(axis=0) / block).astype(int) + 2, first + 1, size)
    (left, top), (right, bottom) = first * block, last * block
    columns, rows = (last - first).tolist()
    averaged = cv2.resize(image[top:bottom, left:right], (columns, rows), interpolation=cv2.INTER_AREA)
    middle = (block - 1) / 2
    centres = np.array([[block, 0, left + middle], [0, block, top + middle]], dtype=np.float64)
    return averaged, geometry.compose(matrix, centres)


def _random_crop(
    record: PersonRecord,
    skeleton: Skeleton,
    input_hw: tuple[int, int],
    margin: float,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "2 3"], bool]:
    """A random map image -> crop, and whether it flips."""
    box = record.bbox_xyxy
    if rng.random() < augmentation.half_body_probability:
        box = _half_body_box(record, skeleton, rng)
    rotated = rng.random() < augmentation.rotation_probability
    flip = bool(rng.random() < augmentation.flip_probability)
    matrix = geometry.crop_matrix(
        box,
        input_hw,
        margin=margin,
        rotation_deg=rng.uniform(-1, 1) * augmentation.rotation_deg if rotated else 0.0,
        scale=rng.uniform(*augmentation.scale),
        flip=flip,
    )
    return matrix, flip


def _half_body_box(record: PersonRecord, skeleton: Skeleton, rng: np.random.Generator) -> geometry.Box:
    """The box of the upper or of the lower body (partition "3"), or the whole box where that is too little.

    The keypoints' tight box is grown by a fifth: with the usual margin 1.5 times, as in HRNet's code.
    """
    lower = skeleton.partitions.get("3", {}).get("lower_limb", ())
    is_lower = np.array([name in lower for name in skeleton.keypoints])
    half = is_lower if rng.random() < 0.5 else ~is_lower
    visibility = np.where(half, record.visibility, 0)
    if (record.visibility > 0).sum() < HALF_BODY_MIN_KEYPOINTS or (visibility > 0).sum() < 3 or not lower:
        return record.bbox_xyxy
    return geometry.grow_box(geometry.keypoints_box(record.keypoints_xy, visibility), 1.2)


def _recolour(image: Image, augmentation: Augmentation, rng: np.random.Generator) -> Image:
    """Brightness, contrast about mid-grey, saturation and hue as one affine map of RGB."""
    brightness, contrast, saturation = 1 + augmentation.colour * rng.uniform(-1, 1, size=3)
    turn = np.deg2rad(45 * augmentation.colour * rng.uniform(-1, 1))
    if augmentation.colour == 0:
        return image
    luma = np.array([0.299, 0.587, 0.114])
    saturate = saturation * np.eye(3) + (1 - saturation) * luma
    hue, _ = cv2.Rodrigues(np.full(3, turn / np.sqrt(3)))  # a turn about the grey axis
    linear = brightness * contrast * saturate @ hue
    colour_matrix = np.column_stack([linear, np.full(3, (1 - contrast) * 127.5)])
    recoloured: Image = cv2.transform(image, colour_matrix)
    return recoloured


def _cutout(image: Image, augmentation: Augmentation, rng: np.random.Generator) -> Image:
    """Blank a random rectangle with the crop's mean colour, in place."""
    if rng.random() >= augmentation.cutout_probability:
        return image
    hw = np.array(image.shape[:2])
    sides = (hw * augmentation.cutout_size * rng.uniform(0.3, 1.0, size=2)).astype(int)
    top, left = (rng.random(2) * (hw - sides)).astype(int)
    image[top : top + sides[0], left : left + sides[1]] = image.mean(axis=(0, 1))
    return image
