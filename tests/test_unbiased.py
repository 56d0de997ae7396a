"""Through real pixels: a crop is cut out, seen by a net that only reads it, flipped, decoded, and put back.

The net of these tests shows what stands in its crop, reduced to heatmap size. What remains is the package's own doing:
crop, flip test, sub-pixel decoding and the way back, which together must not move a keypoint.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from torch import Tensor, nn

from posefabric.config import Config, override
from posefabric.data.loader import CropSettings, collate
from posefabric.data.records import PersonRecord
from posefabric.data.transforms import make_sample
from posefabric.geometry import invert, zoom_of
from posefabric.models.net import PoseNet
from posefabric.predictor import infer
from posefabric.skeletons import Skeleton

INPUT_HW, HEATMAP_HW = (256, 192), (64, 48)
COLOURS = Skeleton(keypoints=("red", "green", "blue"))


class Reader(PoseNet):
    """Three heatmaps: the crop's red, green and blue, whose first and last pixel centres stay where they are."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.architecture = SimpleNamespace(skeleton=COLOURS)  # type: ignore[assignment]

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.interpolate(images, HEATMAP_HW, mode="bilinear", align_corners=True)


def photograph(spots_xy: np.ndarray, radius_px: float) -> np.ndarray:
    """One soft spot of each colour."""
    rows, columns = np.mgrid[:320, :260]
    squared = [(columns - x) ** 2 + (rows - y) ** 2 for x, y in spots_xy]
    return np.exp(-np.stack(squared, axis=-1) / (2 * radius_px**2)).dot(255 * np.eye(3)).round().astype(np.uint8)


@pytest.mark.parametrize("decode", ["dark", "soft-argmax"])
@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_spots_of_a_photograph_are_found_within_a_hundredth_of_a_heatmap_pixel(
    decode: str, flip_test: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    spots_xy = rng.uniform((90, 120), (170, 200), (3, 2))
    box = np.array([*rng.uniform(40, 60, 2), *rng.uniform((200, 260), (220, 280))])
    person = PersonRecord(0, 0, box, spots_xy, np.full(3, 2), 1.0)
    config = override(Config(), [f"evaluation.decode={decode}", f"evaluation.flip_test={str(flip_test).lower()}"])
    view = CropSettings(INPUT_HW, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    sample = make_sample(person, photograph(spots_xy, 12.0), COLOURS, INPUT_HW)
    found, _ = infer(Reader().eval(), collate([sample], [0], view), config)
    heatmap_px = 4 / zoom_of(invert(sample.crop_to_image))  # one heatmap pixel in image pixels, about
    assert np.abs(found[0] - spots_xy).max() / heatmap_px < 0.01
