"""Keypoints to heatmaps and back, and the loss between heatmaps: stages 8a and 8b of the walk, torch.

Targets are made here from the batch, so a dataset knows no heatmap size. Crop pixels become heatmap pixels by
(heatmap size - 1) / (input size - 1) per axis (`posefabric.geometry`), which is why a mirrored image gives
the mirrored heatmaps exactly and no shift is needed in the flip test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from posefabric.errors import unknown_name
from posefabric.settings import DecodeMethod


def encode(
    keypoints_xy: Float[Tensor, "B K 2"],
    visibility: Int[Tensor, "B K"],
    input_hw: tuple[int, int],
    heatmap_hw: tuple[int, int],
    sigma_px: float,
) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B K"]]:
    """Target heatmaps, Gaussians of height 1 about the exact sub-pixel position, and each keypoint's weight.

    `keypoints_xy` are crop pixels, `sigma_px` is in heatmap pixels. The weight is 1 where the keypoint is
    labelled and its centre lies within 3 sigma of the heatmap, else 0 with an empty heatmap.
    """
    height, width = heatmap_hw
    centre = keypoints_xy / _crop_per_heatmap_px(input_hw, heatmap_hw, keypoints_xy)
    last = centre.new_tensor([width - 1, height - 1])
    near = ((centre >= -3 * sigma_px) & (centre <= last + 3 * sigma_px)).all(dim=-1)
    weights = ((visibility > 0) & near).to(centre.dtype)
    across = _bell(centre[..., 0], width, sigma_px)  # B K w
    down = _bell(centre[..., 1], height, sigma_px)  # B K h
    heatmaps = (weights[..., None] * down)[..., :, None] * across[..., None, :]  # B K h w
    return heatmaps, weights


def heatmap_loss(
    predicted: Float[Tensor, "B K h w"], target: Float[Tensor, "B K h w"], weights: Float[Tensor, "B K"]
) -> Float[Tensor, ""]:
    """Half the squared error, mean over pixels, times the keypoint's weight, mean over keypoints and batch.

    This is the paper's code; its equation 7 sums over pixels instead. Keypoints of weight 0 count in the
    mean.
    """
    return (0.5 * weights * (predicted - target).square().mean(dim=(-2, -1))).mean()


def flip_heatmaps(heatmaps: Float[Tensor, "B K h w"], permutation: Sequence[int]) -> Float[Tensor, "B K h w"]:
    """The mirrored crop's heatmaps: mirrored in width, channels in `Skeleton.flip_permutation`'s order."""
    return heatmaps[:, list(permutation)].flip(-1)


def decode(
    heatmaps: Float[Tensor, "B K h w"],
    input_hw: tuple[int, int],
    method: str = "dark",
    sigma_px: float = 2.0,
) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K"]]:
    """Keypoints in crop pixels and their scores, the heatmaps' maxima; runs on the heatmaps' device.

    `"argmax"` is the highest pixel; `"quarter"` moves it by a quarter pixel per axis toward its higher
    neighbour (the paper); `"dark"` is the peak of the parabola through the logarithm of the smoothed map
    (Zhang et al., CVPR 2020); `"soft-argmax"` is the map's centre of mass (Sun et al., ECCV 2018), seen through
    a Gaussian window that stands on it, so that neither a background nor a second person draws it away.
    `sigma_px`, in heatmap pixels, is the width the targets had, and the width of smoothing and window.

    The last two return an encoded keypoint within 0.01 heatmap pixels where it lies 3 sigma or more inside and sigma
    is a pixel or more; a narrower peak falls between the pixels (0.03 at a sigma of 0.75). Nearer to the border a part
    of the peak is missing and they are drawn inward, by a fifth of a pixel at 1 sigma and a whole one at the very
    border. Heatmaps are at least 3 x 3. An unknown method raises `UserError("unknown-name")`.
    """
    if method not in get_args(DecodeMethod):
        raise unknown_name("decode method", method, get_args(DecodeMethod))
    heatmaps = heatmaps.float()
    height, width = heatmaps.shape[-2:]
    scores, position = heatmaps.flatten(-2).max(dim=-1)  # B K
    peak = torch.stack([position % width, position // width], dim=-1)  # B K 2
    centre = peak.clamp(min=peak.new_tensor([1, 1]), max=peak.new_tensor([width - 2, height - 2]))
    with torch.autocast(heatmaps.device.type, enabled=False):  # fractions of a pixel need all of float32's digits
        if method == "argmax":
            found = peak.float()
        elif method == "quarter":
            slope, _ = _derivatives(_neighbourhood(heatmaps, centre))
            found = peak + torch.where(peak == centre, 0.25 * slope.sign(), 0.0)
        elif method == "dark":
            found = centre + _newton_step(_smoothed_neighbourhood(heatmaps, centre, sigma_px).log())
        else:
            found = _soft_argmax(heatmaps, peak, sigma_px)
    return found * _crop_per_heatmap_px(input_hw, (height, width), found), scores


def _crop_per_heatmap_px(input_hw: tuple[int, int], heatmap_hw: tuple[int, int], like: Tensor) -> Float[Tensor, " xy"]:
    return like.new_tensor([(input_hw[axis] - 1) / (heatmap_hw[axis] - 1) for axis in (1, 0)])


def _neighbourhood(maps: Float[Tensor, "B K h w"], centre: Int[Tensor, "B K 2"]) -> Float[Tensor, "B K 3 3"]:
    """The 3 x 3 values about pixels that do not touch the border."""
    width = maps.shape[-1]
    step = torch.arange(-1, 2, device=maps.device)
    offsets = (step[:, None] * width + step).flatten()  # 9
    position = (centre[..., 1] * width + centre[..., 0])[..., None] + offsets  # B K 9
    return maps.flatten(-2).gather(-1, position).reshape(*centre.shape[:-1], 3, 3)


def _smoothed_neighbourhood(
    maps: Float[Tensor, "B K h w"], centre: Int[Tensor, "B K 2"], sigma_px: float
) -> Float[Tensor, "B K 3 3"]:
    """The 3 x 3 values about pixels, each a sum over the whole map weighted by a Gaussian; above 0."""
    height, width = maps.shape[-2:]
    around = centre[..., None] + torch.arange(-1, 2, device=maps.device)  # B K 2 3
    across = _bell(around[..., 0, :], width, sigma_px)  # B K 3 w
    down = _bell(around[..., 1, :], height, sigma_px)  # B K 3 h
    return (down @ maps @ across.mT).clamp(min=1e-10)


def _bell(centres: Tensor, size: int, sigma_px: float) -> Tensor:
    """Gaussians of height 1 about `centres` at the pixels of a new last axis of that size."""
    pixels = torch.arange(size, device=centres.device)
    return torch.exp(-((pixels - centres[..., None]) / sigma_px).square() / 2)


def _derivatives(patch: Float[Tensor, "*N 3 3"]) -> tuple[Float[Tensor, "*N 2"], Float[Tensor, "*N 3"]]:
    """Central differences at the middle of the patch: (dx, dy) and (dxx, dxy, dyy)."""
    middle = patch[..., 1, 1]
    left, right, above, below = patch[..., 1, 0], patch[..., 1, 2], patch[..., 0, 1], patch[..., 2, 1]
    slope = torch.stack([right - left, below - above], dim=-1) / 2
    mixed = (patch[..., 2, 2] - patch[..., 2, 0] - patch[..., 0, 2] + patch[..., 0, 0]) / 4
    bend = torch.stack([right - 2 * middle + left, mixed, below - 2 * middle + above], dim=-1)
    return slope, bend


def _newton_step(patch: Float[Tensor, "*N 3 3"]) -> Float[Tensor, "*N 2"]:
    """From the patch's middle to the top of its parabola, at most a pixel per axis; 0 where it has no top."""
    (dx, dy), (dxx, dxy, dyy) = (derivative.unbind(-1) for derivative in _derivatives(patch))
    determinant = dxx * dyy - dxy.square()
    has_top = (determinant > 1e-12) & (dxx < 0)
    step = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1)
    step = step / torch.where(has_top, determinant, 1.0)[..., None]
    return torch.where(has_top[..., None], step, 0.0).clamp(-1, 1)


def _soft_argmax(maps: Float[Tensor, "B K h w"], peak: Int[Tensor, "B K 2"], sigma_px: float) -> Float[Tensor, "B K 2"]:
    """The centre of mass under a Gaussian window that starts at the peak and moves onto it, at most a pixel per axis.

    A window as wide as w shows the mass of a Gaussian at 1 - v / w^2 of the way to its centre, v being the variance
    under the window: this share undone, two steps are enough. Values below 0 have no mass.
    """
    mass = maps.clamp(min=0)
    found = peak.float()
    for _ in range(2):
        across, down = _bell(found[..., 0], maps.shape[-1], sigma_px), _bell(found[..., 1], maps.shape[-2], sigma_px)
        columns = across * (down[..., None, :] @ mass).squeeze(-2)  # B K w
        rows = down * (mass @ across[..., None]).squeeze(-1)  # B K h
        (x, wide), (y, high) = _moments(columns, found[..., 0]), _moments(rows, found[..., 1])
        offset, variance = torch.stack([x, y], dim=-1), torch.stack([wide, high], dim=-1)
        step = offset / (1 - variance / sigma_px**2).clamp(min=0.25)
        found = peak + (found + step - peak).clamp(-1, 1)
    return found


def _moments(
    mass: Float[Tensor, "B K n"], origin: Float[Tensor, "B K"]
) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"]]:
    """Mean and variance of the pixels' distances from an origin, weighted by their mass; 0 where there is none."""
    offsets = torch.arange(mass.shape[-1], device=mass.device) - origin[..., None]
    shares = mass / mass.sum(dim=-1, keepdim=True).clamp(min=1e-12)
    mean = (shares * offsets).sum(dim=-1)
    return mean, (shares * offsets.square()).sum(dim=-1) - mean.square()
