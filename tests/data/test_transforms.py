"""Samples: a bright spot painted on a keypoint is found at that keypoint after every transform."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posefabric import geometry, heatmaps
from posefabric.data.records import PersonRecord
from posefabric.data.transforms import make_sample, warp
from posefabric.settings import Augmentation
from posefabric.skeletons import COCO17, LSP14, Skeleton

INPUT_HW = (256, 192)
STILL = Augmentation(
    flip_probability=0,
    rotation_probability=0,
    scale=(1, 1),
    half_body_probability=0,
    colour=0,
    cutout_probability=0,
)
AUGMENTATIONS = {
    "none": None,
    "still": STILL,
    "flip": dataclasses.replace(STILL, flip_probability=1),
    "rotation": dataclasses.replace(STILL, rotation_probability=1, rotation_deg=180),
    "scale": dataclasses.replace(STILL, scale=(0.5, 2)),
    "half body": dataclasses.replace(STILL, half_body_probability=1),
    "colour": dataclasses.replace(STILL, colour=0.4),
    "everything": Augmentation(cutout_probability=0),
}
seeds = st.integers(0, 2**31)


def person(seed, skeleton=COCO17, image_hw=(300, 400)):
    rng = np.random.default_rng(seed)
    count, size = skeleton.num_keypoints, np.array([image_hw[1], image_hw[0]])
    low = rng.uniform(0.05, 0.3, 2) * size
    keypoints = low + rng.uniform(0, 0.6, (count, 2)) * size
    visibility = rng.choice([0, 1, 2], count, p=[0.1, 0.2, 0.7])
    visibility[:2] = 2
    box = geometry.keypoints_box(keypoints, visibility)
    return PersonRecord(0, 0, box, keypoints, visibility, area=1000.0)


def image_with_spot(xy, radius=3.0, image_hw=(300, 400)):
    """Black, with a soft bright spot whose centroid is exactly `xy`."""
    rows, columns = np.indices(image_hw)
    distance = (columns - xy[0]) ** 2 + (rows - xy[1]) ** 2
    return np.repeat((255 * np.exp(-distance / (2 * radius**2)))[..., None], 3, axis=-1).round().astype(np.uint8)


def brightest_xy(image):
    """Centroid of what is brighter than half the maximum."""
    light = image.sum(axis=-1).astype(float)
    light = np.clip(light - light.min(), 0, None)
    light[light < 0.5 * light.max()] = 0
    rows, columns = np.indices(light.shape)
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


def is_flipped(sample):
    return np.linalg.det(sample.crop_to_image[:, :2]) < 0


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
@given(seed=seeds, which=st.integers(0, 16))
@settings(max_examples=12, deadline=None)
def test_a_spot_on_a_keypoint_stays_on_it(augmentation, seed, which):
    record = person(seed)
    image = image_with_spot(record.keypoints_xy[which])
    rng = np.random.default_rng(seed)
    sample = make_sample(record, image, COCO17, INPUT_HW, augmentation=augmentation, rng=rng)
    row = COCO17.flip_permutation[which] if is_flipped(sample) else which
    expected = sample.keypoints_xy[row]
    spot_reach = 8 * geometry.zoom_of(geometry.invert(sample.crop_to_image))
    if geometry.inside(expected - spot_reach, INPUT_HW) and geometry.inside(expected + spot_reach, INPUT_HW):
        assert abs(brightest_xy(sample.image) - expected).max() < 0.6
        assert sample.visibility[row] == record.visibility[which]
    elif not geometry.inside(expected, INPUT_HW):
        assert sample.visibility[row] == 0


def test_the_spots_are_seen_and_flips_happen():
    """What the property above skips is the exception."""
    samples = [
        make_sample(
            person(seed),
            np.zeros((300, 400, 3), np.uint8),
            COCO17,
            INPUT_HW,
            augmentation=Augmentation(),
            rng=np.random.default_rng(seed),
        )
        for seed in range(100)
    ]
    assert np.mean([sample.visibility > 0 for sample in samples]) > 0.6
    assert 0.35 < np.mean([is_flipped(sample) for sample in samples]) < 0.65


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_keypoints_return_to_the_image_through_heatmaps(seed):
    record = person(seed, LSP14)
    image = np.zeros((300, 400, 3), dtype=np.uint8)
    sample = make_sample(record, image, LSP14, INPUT_HW, augmentation=Augmentation(), rng=np.random.default_rng(seed))
    keypoints = torch.from_numpy(sample.keypoints_xy)[None]
    encoded, _ = heatmaps.encode(keypoints, torch.from_numpy(sample.visibility)[None], INPUT_HW, (64, 48), 2.0)
    found, _ = heatmaps.decode(encoded, INPUT_HW, "dark", 2.0)
    found_image = geometry.transform_points(found[0].double().numpy(), sample.crop_to_image)
    order = list(LSP14.flip_permutation) if is_flipped(sample) else range(14)
    away = 3 * 2.0 * 255 / 63  # three sigma from the border, in crop pixels
    inner = geometry.inside(sample.keypoints_xy - away, INPUT_HW) & geometry.inside(
        sample.keypoints_xy + away, INPUT_HW
    )
    seen = inner & (sample.visibility > 0)
    allowed = 0.03 * (255 / 63) * geometry.zoom_of(sample.crop_to_image)
    error = abs(found_image - record.keypoints_xy[order])[seen]
    assert error.size == 0 or error.max() < allowed


@pytest.mark.parametrize("image_hw", [(2001, 1603), (1999, 1600), (900, 1201)])
def test_strong_shrinking_keeps_the_place_and_does_not_alias(image_hw):
    xy = np.array([411.3, 702.8])
    image = image_with_spot(xy, radius=25.0, image_hw=image_hw)
    matrix = geometry.crop_matrix(np.array([100.0, 90, 1100, 890]), (64, 48))
    assert geometry.zoom_of(matrix) < 0.1
    shrunk = warp(image, matrix, (64, 48))
    assert abs(brightest_xy(shrunk) - geometry.transform_points(xy[None], matrix)[0]).max() < 0.1
    stripes = np.zeros((*image_hw, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    inner = warp(stripes, matrix, (64, 48))[20:44, 10:38]
    assert abs(inner.astype(int) - 127).max() <= 14


@given(seed=seeds, turn=st.floats(-180, 180), flip=st.booleans())
@settings(max_examples=30, deadline=None)
def test_shrinking_looks_at_the_seen_part_only_and_nobody_can_tell(seed, turn, flip):
    """Averaging the blocks of the whole image gives the same picture, bit for bit."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 900, 2).tolist()
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    centre, side = rng.uniform(-0.3, 1.3, 2) * (width, height), rng.uniform(100, 900)
    box = np.concatenate([centre - side / 2, centre + side / 2])
    matrix = geometry.crop_matrix(box, (64, 48), rotation_deg=turn, flip=flip)
    block = min(int(1 / geometry.zoom_of(matrix)), height, width)
    if block >= 2:
        rows, columns = height // block, width // block
        whole = cv2.resize(image[: rows * block, : columns * block], (columns, rows), interpolation=cv2.INTER_AREA)
        middle = (block - 1) / 2
        centres = np.array([[block, 0, middle], [0, block, middle]], dtype=np.float64)
        expected = cv2.warpAffine(whole, geometry.compose(matrix, centres), (48, 64))
    else:
        expected = cv2.warpAffine(image, matrix, (48, 64))
    np.testing.assert_array_equal(warp(image, matrix, (64, 48)), expected)


def test_a_crop_without_shrinking_is_one_interpolation():
    image = np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    matrix = geometry.crop_matrix(np.array([10.0, 20, 60, 70]), INPUT_HW)
    np.testing.assert_array_equal(warp(image, matrix, INPUT_HW), cv2.warpAffine(image, matrix, (192, 256)))


def test_beyond_the_image_is_black():
    image = np.full((90, 80, 3), 255, dtype=np.uint8)
    beside = geometry.crop_matrix(np.array([500.0, 500, 600, 600]), (32, 32))
    assert (warp(image, beside, (32, 32)) == 0).all()
    around = geometry.crop_matrix(np.array([-500.0, -500, 600, 600]), (32, 32))
    for thin in (image, image[:1], image[:, :1]):
        assert (warp(thin, around, (32, 32))[0] == 0).all()


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_half_body_shows_one_half(seed):
    record = dataclasses.replace(person(seed), visibility=np.full(17, 2))
    image = np.zeros((300, 400, 3), dtype=np.uint8)
    half = AUGMENTATIONS["half body"]
    sample = make_sample(record, image, COCO17, INPUT_HW, augmentation=half, rng=np.random.default_rng(seed))
    lower = np.array([name in COCO17.partition("3")["lower_limb"] for name in COCO17.keypoints])
    seen = sample.visibility > 0
    assert seen[lower].all() or seen[~lower].all()
    plain = make_sample(record, image, COCO17, INPUT_HW)
    few = dataclasses.replace(record, visibility=np.array([2] * 8 + [0] * 9))
    own = Skeleton(keypoints=COCO17.keypoints)
    for person_, skeleton in ((few, COCO17), (record, own)):
        whole = make_sample(person_, image, skeleton, INPUT_HW, augmentation=half, rng=np.random.default_rng(seed))
        np.testing.assert_allclose(whole.crop_to_image, plain.crop_to_image)


def test_a_sample_is_a_function_of_the_generators_state():
    record, image = person(3), np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    before = image.copy()
    augmentation = Augmentation(cutout_probability=1)
    first, same, other = (
        make_sample(record, image, COCO17, INPUT_HW, augmentation=augmentation, rng=np.random.default_rng(s))
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.image, same.image)
    np.testing.assert_array_equal(first.keypoints_xy, same.keypoints_xy)
    assert (first.image != other.image).any()
    np.testing.assert_array_equal(image, before)


def test_cutout_blanks_one_rectangle_and_keeps_labels():
    record, image = person(3), np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    plain = make_sample(record, image, COCO17, INPUT_HW)
    cut = dataclasses.replace(STILL, cutout_probability=1, cutout_size=0.5)
    for seed in range(20):
        sample = make_sample(record, image, COCO17, INPUT_HW, augmentation=cut, rng=np.random.default_rng(seed))
        rows, columns = np.nonzero((sample.image != plain.image).any(axis=-1))
        region = sample.image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (region == region[0, 0]).all()
        assert region.shape[0] <= 128
        assert region.shape[1] <= 96
        np.testing.assert_array_equal(sample.visibility, plain.visibility)


def test_colour_turns_no_grey_into_colour():
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=-1)
    record = PersonRecord(0, 0, np.array([0.0, 0, 15, 15]), np.zeros((17, 2)), np.zeros(17, int), 1.0)
    strong = dataclasses.replace(STILL, colour=0.8)
    for seed in range(10):
        crop = make_sample(
            record, grey, COCO17, (64, 64), augmentation=strong, rng=np.random.default_rng(seed)
        ).image.astype(int)
        assert np.ptp(crop, axis=-1).max() <= 1
    tiny = dataclasses.replace(STILL, colour=1e-9)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    same = make_sample(record, image, COCO17, (64, 64), augmentation=tiny, rng=np.random.default_rng(0))
    plain = make_sample(record, image, COCO17, (64, 64))
    assert abs(same.image.astype(int) - plain.image).max() <= 1
