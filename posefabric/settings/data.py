"""What a net is shown, and how its answers are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from posefabric.documents import STRICT
from posefabric.settings.fields import Count, NotNegative, Positive, Settings, Share

DecodeMethod = Literal["dark", "soft-argmax", "quarter", "argmax"]
"""How a heatmap's peak becomes a keypoint (`heatmaps.decode`)."""

MAX_JSON = 10**9
"""Bytes of the largest annotation file that is read unless a user allows more."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Augmentation:
    """How strongly training samples vary; probabilities are in [0, 1] and draws are uniform.

    `rotation_deg` is the largest turn either way, `scale` the range of the factor on the box (above 1: a
    smaller person), both as in the paper; the rotation's probability is its code's. `half_body_probability`:
    only the upper or the lower body fills the crop. `colour` c: brightness, contrast and saturation each
    times 1-c ... 1+c, hue turned by up to c x 45 degrees. `cutout_size`: the largest side of the blanked
    rectangle as a share of the crop's; keypoints beneath it stay labelled.
    """

    flip_probability: Share = 0.5
    rotation_deg: NotNegative = 45.0
    rotation_probability: Share = 0.6
    scale: tuple[Positive, Positive] = (0.7, 1.3)
    half_body_probability: Share = 0.3
    colour: Share = 0.2
    cutout_probability: Share = 0.2
    cutout_size: Share = 0.3

    __pydantic_config__ = STRICT


class DataSettings(Settings):
    """Crops and targets. `margin` grows the box (1.25: the person fills 80 %); `sigma_px` is in heatmap pixels.

    `stretch_boxes` enlarges annotated boxes until they hold all labelled keypoints, as the paper's code does. It is off
    because it looks at the answer: evaluated on such boxes a net seems better than it is, and detectors draw none.

    `mean` and `std` normalise RGB in [0, 1]. `in_memory` keeps every photograph once read, in each worker.
    `max_json` limits the size of annotation files, in bytes. `allow_truncated` accepts JPEG files that lack their end
    marker and nothing else.
    `synthetic_train` and `synthetic_val` count the embedded people, `synthetic_hw` is the size of their photographs,
    `synthetic_variety` how hard they are (`SyntheticPeople`).
    """

    margin: Positive = 1.25
    sigma_px: Positive = 2.0
    stretch_boxes: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    augmentation: Augmentation = Augmentation()
    max_json: Count = MAX_JSON
    num_workers: Annotated[int, Field(ge=0)] = 0
    in_memory: bool = False
    allow_truncated: bool = False
    synthetic_train: Count = 4096
    synthetic_val: Count = 512
    synthetic_hw: tuple[Count, Count] = (192, 160)
    synthetic_variety: Annotated[float, Field(gt=0, le=1)] = 1.0


class EvaluationSettings(Settings):
    """How heatmaps become keypoints, and keypoints results.

    `flip_test` averages with the mirrored crop. Detected boxes below `box_threshold` are not looked at. `suppression`
    removes a person whose OKS with a better one of the same image is above `suppression_oks` (`"hard"`), lowers its
    score (`"soft"`), or neither (`"none"`). The defaults are those of the paper's code.
    """

    batch_size: Count = 32
    decode: DecodeMethod = "quarter"
    flip_test: bool = False
    box_threshold: Share = 0.0
    suppression: Literal["hard", "soft", "none"] = "hard"
    suppression_oks: Share = 0.9
