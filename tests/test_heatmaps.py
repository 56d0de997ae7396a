"""Heatmaps: encode and decode return to the start, flipping commutes, the loss is the naive sum."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posefabric import heatmaps
from posefabric.errors import UserError
from posefabric.geometry import crop_matrix, invert, transform_points
from posefabric.settings import DecodeMethod

METHODS = get_args(DecodeMethod)
SUB_PIXEL = ("dark", "soft-argmax")
SIGMAS = (1.0, 1.5, 2.0, 3.0)
SIZES = (((256, 192), (64, 48)), ((384, 288), (96, 72)), ((128, 96), (32, 24)), ((80, 100), (20, 25)))

INPUT_HW, HEATMAP_HW = (256, 192), (64, 48)
PER_PX = torch.tensor([191 / 47, 255 / 63])


def encode_heatmap_px(centre_xy, sigma=2.0):
    """Heatmaps of keypoints given in heatmap pixels."""
    visibility = torch.full(centre_xy.shape[:2], 2)
    return heatmaps.encode(centre_xy * PER_PX, visibility, INPUT_HW, HEATMAP_HW, sigma)


def random_centres(seed, sigma=2.0, shape=(2, 17, 2)):
    rng = torch.Generator().manual_seed(seed)
    room = torch.tensor([47, 63]) - 6 * sigma
    return 3 * sigma + torch.rand(shape, generator=rng) * room


@pytest.mark.parametrize(("method", "tolerance"), [("quarter", 0.5), ("argmax", 0.5001)])
@given(seed=st.integers(0, 2**31), sigma=st.sampled_from(SIGMAS))
@settings(max_examples=15, deadline=None)
def test_decode_returns_the_encoded_keypoints(method, tolerance, seed, sigma):
    centres = random_centres(seed, sigma)
    encoded, weights = encode_heatmap_px(centres, sigma)
    found, scores = heatmaps.decode(encoded, INPUT_HW, method, sigma)
    assert weights.eq(1).all()
    assert (found / PER_PX - centres).abs().max() < tolerance
    torch.testing.assert_close(scores, encoded.amax(dim=(-2, -1)))


fractions = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8)


@pytest.mark.parametrize("method", SUB_PIXEL)
@pytest.mark.parametrize("sigma", SIGMAS)
@given(places=fractions, sizes=st.sampled_from(SIZES), flip=st.booleans())
@settings(max_examples=60, deadline=None)
def test_sub_pixel_methods_return_keypoints_within_a_hundredth_of_a_pixel(method, sigma, places, sizes, flip):
    input_hw, heatmap_hw = sizes
    last = torch.tensor([heatmap_hw[1] - 1, heatmap_hw[0] - 1])
    per_px = torch.tensor([input_hw[1] - 1, input_hw[0] - 1]) / last
    centres = (3 * sigma + torch.tensor(places) * (last - 6 * sigma))[None]  # everywhere 3 sigma or more inside
    visibility = torch.full(centres.shape[:2], 2)
    encoded, _ = heatmaps.encode(centres * per_px, visibility, input_hw, heatmap_hw, sigma)
    if flip:
        mirrored = centres * torch.tensor([-1, 1]) + torch.tensor([last[0], 0])
        seen, _ = heatmaps.encode(mirrored * per_px, visibility, input_hw, heatmap_hw, sigma)
        encoded = (encoded + heatmaps.flip_heatmaps(seen, range(len(places)))) / 2
    found, _ = heatmaps.decode(encoded, input_hw, method, sigma)
    assert (found / per_px - centres).abs().max() < 0.01


PERMUTATION = [0, 2, 1, 4, 3]


@pytest.mark.parametrize("method", SUB_PIXEL)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.sampled_from(SIZES),
    sigma=st.sampled_from(SIGMAS),
    rotation=st.floats(-180, 180),
    scale=st.floats(0.5, 1.5),
    flip=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_from_the_image_to_heatmaps_and_back_with_the_flip_test(method, seed, sizes, sigma, rotation, scale, flip):
    """Crop, flip, encoding and decoding agree to a hundredth of a heatmap pixel (unbiased data processing)."""
    input_hw, heatmap_hw = sizes
    rng = np.random.default_rng(seed)
    box = np.sort(rng.uniform(0, 400, (2, 2)), axis=0).ravel()
    last = np.array([heatmap_hw[1] - 1, heatmap_hw[0] - 1])
    per_px = np.array([input_hw[1] - 1, input_hw[0] - 1]) / last
    to_crop, to_mirrored = (
        crop_matrix(box, input_hw, rotation_deg=rotation, scale=scale, flip=flipped) for flipped in (flip, not flip)
    )
    in_crop = rng.uniform(3 * sigma, last - 3 * sigma, (5, 2)) * per_px
    in_image = transform_points(in_crop, invert(to_crop))

    def encoded(points_xy):
        points = torch.from_numpy(points_xy).float()[None]
        return heatmaps.encode(points, torch.full((1, 5), 2), input_hw, heatmap_hw, sigma)[0]

    straight = encoded(transform_points(in_image, to_crop))
    mirrored = encoded(transform_points(in_image, to_mirrored)[PERMUTATION])
    averaged = (straight + heatmaps.flip_heatmaps(mirrored, PERMUTATION)) / 2
    found, _ = heatmaps.decode(averaged, input_hw, method, sigma)
    returned = transform_points(found[0].double().numpy(), invert(to_crop))
    heatmap_px = np.sqrt(abs(np.linalg.det(invert(to_crop)[:, :2]))) * per_px  # one heatmap pixel in image pixels
    assert np.abs(returned - in_image).max() < 0.01 * heatmap_px.min()


@given(
    seed=st.integers(0, 2**31), width=st.sampled_from([0.75, 1.0, 1.5]), background=st.sampled_from([0.0, 0.1, 0.25])
)
@settings(max_examples=30, deadline=None)
def test_soft_argmax_knows_neither_the_width_nor_the_background_nor_another_person(seed, width, background):
    rng = torch.Generator().manual_seed(seed)
    centre = 20 + 3 * torch.rand(2, generator=rng)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")

    def bell(x, y):
        return torch.exp(-((columns - x).square() + (rows - y).square()) / (2 * (2 * width) ** 2))

    heatmap = bell(*centre) + 0.8 * bell(centre[0] + 5, centre[1] + 30) + background
    found, _ = heatmaps.decode(heatmap[None, None], (64, 48), "soft-argmax", 2.0)
    assert (found - centre).abs().max() < (0.01 if width >= 1 else 0.03)


def test_sub_pixel_methods_are_worth_it():
    centres = random_centres(1, shape=(8, 17, 2))
    encoded, _ = encode_heatmap_px(centres)
    errors = [
        (heatmaps.decode(encoded, INPUT_HW, method)[0] / PER_PX - centres).norm(dim=-1).mean()
        for method in ("dark", "quarter", "argmax")
    ]
    assert errors[0] < errors[1] / 5
    assert errors[1] < errors[2]


@pytest.mark.parametrize("method", METHODS)
def test_mixed_precision_around_decode_changes_nothing(method):
    encoded, _ = encode_heatmap_px(random_centres(2))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = heatmaps.decode(encoded, INPUT_HW, method)
    torch.testing.assert_close(mixed, heatmaps.decode(encoded, INPUT_HW, method), rtol=0, atol=0)


def test_dark_finds_the_peak_of_a_tilted_gaussian():
    centre = torch.tensor([20.3, 31.4])
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
    x, y = columns - centre[0], rows - centre[1]
    tilted = torch.exp(-(x.square() / 8 + y.square() / 5 + x * y / 8) / 2)
    found, _ = heatmaps.decode(tilted[None, None], INPUT_HW)
    assert (found / PER_PX - centre).abs().max() < 0.02


def test_the_peak_is_one_at_the_exact_position():
    encoded, _ = encode_heatmap_px(torch.tensor([[[10.0, 20.0], [10.25, 20.0]]]))
    assert encoded[0, 0, 20, 10] == pytest.approx(1)
    assert encoded[0, 1, 20, 10] == pytest.approx(torch.tensor(-(0.25**2) / 8).exp().item())
    assert encoded[0, 0, 20, 12] == pytest.approx(torch.tensor(-0.5).exp().item())


@pytest.mark.parametrize("method", METHODS)
def test_decode_stays_on_the_map_at_borders_and_on_flat_maps(method):
    edges = torch.tensor([[[0.0, 0], [47, 0], [0, 63], [47, 63], [0, 30], [20, 63]]])
    encoded, _ = encode_heatmap_px(edges)
    found, _ = heatmaps.decode(encoded, INPUT_HW, method)
    assert (found / PER_PX - edges).abs().max() < 1.2  # the sub-pixel methods are drawn inward at the border
    for level in (0.0, -0.5, 0.5):  # a linear activation goes below 0
        flat, scores = heatmaps.decode(torch.full((1, 2, 5, 5), level), INPUT_HW, method)
        assert flat.isfinite().all()
        assert scores.eq(level).all()


@given(seed=st.integers(0, 2**31), method=st.sampled_from(METHODS))
@settings(max_examples=40, deadline=None)
def test_decode_stays_within_a_pixel_of_the_highest_one_whatever_the_map(seed, method):
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, 3, 9, 7, generator=rng)
    found, scores = heatmaps.decode(noise, (9, 7), method, 2.0)
    highest, _ = heatmaps.decode(noise, (9, 7), "argmax")
    assert (found - highest).abs().max() <= 2  # a pixel from one that does not touch the border
    torch.testing.assert_close(scores, noise.amax(dim=(-2, -1)))


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_flipping_commutes_with_encoding(seed):
    permutation = [0, 2, 1, 4, 3]
    rng = torch.Generator().manual_seed(seed)
    keypoints = torch.rand((3, 5, 2), generator=rng) * torch.tensor([230.0, 300.0]) - 20
    visibility = torch.randint(0, 3, (3, 5), generator=rng)
    flipped = torch.stack([191 - keypoints[..., 0], keypoints[..., 1]], dim=-1)[:, permutation]
    encoded, weights = heatmaps.encode(keypoints, visibility, INPUT_HW, HEATMAP_HW, 2.0)
    mirrored, mirrored_weights = heatmaps.encode(flipped, visibility[:, permutation], INPUT_HW, HEATMAP_HW, 2.0)
    torch.testing.assert_close(mirrored, heatmaps.flip_heatmaps(encoded, permutation), atol=2e-5, rtol=0)
    torch.testing.assert_close(mirrored_weights, weights[:, permutation])


def test_weights_need_a_label_and_a_centre_near_the_map():
    centres = torch.tensor([[[5.0, 5], [5, 5], [-5.9, 5], [-6.1, 5], [5, 68.9], [5, 69.1]]])
    visibility = torch.tensor([[0, 1, 2, 2, 2, 2]])
    encoded, weights = heatmaps.encode(centres * PER_PX, visibility, INPUT_HW, HEATMAP_HW, 2.0)
    assert weights.tolist() == [[0, 1, 1, 0, 1, 0]]
    assert encoded.amax(dim=(-2, -1)).gt(0).tolist() == weights.bool().tolist()


def test_the_loss_is_the_naive_sum():
    rng = torch.Generator().manual_seed(0)
    predicted, target = torch.rand((2, 2, 3, 4, 5), generator=rng)
    weights = torch.tensor([[1.0, 0, 1], [0, 1, 1]])
    expected = 0.0
    for b in range(2):
        for k in range(3):
            squares = [(predicted[b, k, y, x] - target[b, k, y, x]) ** 2 for y in range(4) for x in range(5)]
            expected += 0.5 * weights[b, k] * sum(squares) / 20 / 6
    torch.testing.assert_close(heatmaps.heatmap_loss(predicted, target, weights), expected)


def test_keypoints_without_weight_give_no_gradient():
    predicted = torch.rand((2, 3, 8, 8), requires_grad=True)
    weights = torch.tensor([[1.0, 0, 1], [0, 1, 1]])
    heatmaps.heatmap_loss(predicted, torch.zeros(2, 3, 8, 8), weights).backward()
    assert predicted.grad is not None
    assert predicted.grad.abs().amax(dim=(-2, -1)).gt(0).tolist() == weights.bool().tolist()


def test_an_unknown_method_is_named():
    with pytest.raises(UserError, match="did you mean 'dark'"):
        heatmaps.decode(torch.zeros(1, 1, 4, 4), INPUT_HW, "drak")
