"""The embedded dataset: rendered articulated people before clutter, photographed with exact keypoints.

Where it stands in the walk: stage 1, beside the loaders of real datasets, for runs without any data. Left and
right are told apart only by what a photograph shows: faces, hair, feet, the way knees and elbows bend. Person
`index` is a function of `(seed, index)` alone, so neither workers nor resuming change what a run sees.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from posefabric.data.records import GroundTruth, Image, PersonRecord, truth_of
from posefabric.data.synthetic.clothes import sample_wardrobe
from posefabric.data.synthetic.figures import SIDES, Figure, sample_figure
from posefabric.data.synthetic.rendering import PART_IDS, Canvas, Painter, View
from posefabric.data.synthetic.scenery import background, develop, occlude
from posefabric.errors import UserError
from posefabric.skeletons import COCO17, SKELETONS, Skeleton

OCCLUDED_SHARE = 0.15
TRUNCATED_SHARE = 0.18
"""Share of photographs that cut the person off on purpose."""

_HEAD_ENDS = {"mpii16": ("head_top", "upper_neck"), "lsp14": ("head_top", "neck")}


def _owners() -> dict[str, tuple[str, ...]]:
    """Keypoint -> the parts it belongs to: it is visible where one of them is what the photograph shows."""
    owners: dict[str, tuple[str, ...]] = {
        "nose": ("nose",),
        "head_top": ("head", "hair"),
        "upper_neck": ("head", "neck", "hair"),
        "neck": ("neck", "left_torso", "right_torso"),
        "thorax": ("neck", "left_torso", "right_torso"),
        "pelvis": ("left_torso", "right_torso", "left_thigh", "right_thigh", "skirt"),
    }
    for side, _ in SIDES:
        parts = {
            "eye": ("eye",),
            "ear": ("ear",),
            "shoulder": ("torso", "upper_arm"),
            "elbow": ("upper_arm", "forearm"),
            "wrist": ("forearm", "hand"),
            "hip": ("torso", "thigh"),
            "knee": ("thigh", "shin"),
            "ankle": ("shin", "foot"),
        }
        owners |= {f"{side}_{name}": tuple(f"{side}_{part}" for part in of) for name, of in parts.items()}
        owners[f"{side}_hip"] += ("skirt",)
    return owners


OWNERS = _owners()
_ANCHORS = ("skull", "thorax", "pelvis")
"""What a photograph that cuts the person off still shows near its middle."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """One rendered person: the picture, its part map, and every known keypoint with its visibility.

    `parts` holds `PART_IDS` and `OCCLUDER_ID`. `keypoints` maps a name to image px, outside the image too.
    `bbox_xyxy` (centres of its outermost pixels) and `area` (square px) are those of the body inside the
    image, seen through occluders. `scale` is in px per stature.
    """

    image: Image
    parts: UInt8[np.ndarray, "height width"]
    keypoints: dict[str, Float[np.ndarray, "2"]]
    figure: Figure
    scale: float
    bbox_xyxy: Float[np.ndarray, "4"]
    area: float

    def visibility(self, keypoint: str) -> int:
        """0 outside the image, 1 covered by another part or an object, 2 visible."""
        x, y = np.rint(self.keypoints[keypoint]).astype(int)
        height, width = self.parts.shape
        if not (0 <= x < width and 0 <= y < height):
            return 0
        return 2 if self.parts[y, x] in [PART_IDS[part] for part in OWNERS[keypoint]] else 1


class SyntheticPeople:
    """`count` rendered people, one a photograph; satisfies `People`.

    A skeleton is allowed when the rendered body has all its keypoints, as it has those of the embedded ones;
    another raises `UserError("unknown-name")`. The same seed and index give the same photograph for every
    skeleton. `variety` in (0, 1] scales how far people turn from the camera (1: seen from all sides), how far
    they move their limbs, and how often they are tilted, cut off by the border or covered by an object.
    """

    def __init__(
        self,
        skeleton: Skeleton = COCO17,
        count: int = 4096,
        seed: int = 0,
        image_hw: tuple[int, int] = (192, 160),
        variety: float = 1.0,
    ) -> None:
        unknown = [name for name in skeleton.keypoints if name not in OWNERS]
        if unknown:
            raise UserError(
                "unknown-name",
                f"skeleton {skeleton.name} has keypoints that rendered people lack: {', '.join(unknown)}",
                f"{', '.join(SKELETONS)}, or any skeleton with keypoints among {', '.join(OWNERS)}",
            )
        self.skeleton, self.count, self.seed = skeleton, count, seed
        self.image_hw, self.variety = image_hw, variety

    def truth(self) -> GroundTruth:
        return truth_of(self)

    def __len__(self) -> int:
        return self.count

    def photograph(self, index: int) -> Photograph:
        """The rendering of person `index`; an index outside the dataset raises IndexError."""
        if not 0 <= index < self.count:
            raise IndexError(f"person {index} of {self.count}")
        return _photograph(self.seed, index, self.image_hw, self.variety)

    def record(self, index: int) -> PersonRecord:
        """Exact keypoints; `head_size` is the length of the head in px as seen from the side."""
        photograph, names = self.photograph(index), self.skeleton.keypoints
        visibility = np.array([photograph.visibility(name) for name in names])
        keypoints = np.stack([photograph.keypoints[name] for name in names])
        head_size = None
        if self.skeleton.name in _HEAD_ENDS:
            top, bottom = (photograph.figure.points[end] for end in _HEAD_ENDS[self.skeleton.name])
            head_size = float(np.linalg.norm(top - bottom) * photograph.scale)
        return PersonRecord(
            image_id=index + 1,
            annotation_id=index + 1,
            bbox_xyxy=photograph.bbox_xyxy.copy(),
            keypoints_xy=np.where(visibility[:, None] > 0, keypoints, 0.0),
            visibility=visibility,
            area=photograph.area,
            head_size=head_size,
        )

    def image(self, index: int) -> Image:
        """The photograph of person `index`."""
        return self.photograph(index).image.copy()


@functools.lru_cache(maxsize=4)
def _photograph(seed: int, index: int, image_hw: tuple[int, int], variety: float) -> Photograph:
    rng = np.random.default_rng([seed, index])
    figure = sample_figure(rng, variety)
    wardrobe = sample_wardrobe(rng)
    view = _frame(rng, figure, image_hw, TRUNCATED_SHARE * variety)
    canvas = Canvas(background(rng, wardrobe, image_hw), np.zeros(image_hw, np.uint8))
    Painter(canvas, view, figure, wardrobe).paint()
    left, top, width, height = cv2.boundingRect(canvas.parts)
    area = float(cv2.countNonZero(canvas.parts))
    if rng.random() < OCCLUDED_SHARE * variety:
        occlude(rng, canvas)
    names = list(OWNERS)
    positions, _ = view.project(np.stack([figure.points[name] for name in names]))
    return Photograph(
        image=develop(rng, canvas.image),
        parts=canvas.parts,
        keypoints=dict(zip(names, positions, strict=True)),
        figure=figure,
        scale=view.scale,
        bbox_xyxy=np.array([left, top, left + width - 1, top + height - 1], float),
        area=area,
    )


def _frame(rng: np.random.Generator, figure: Figure, image_hw: tuple[int, int], truncated_share: float) -> View:
    """Fill most of the image with the person, or more than all of it."""
    distance = float(rng.uniform(2.5, 7.0))
    points = np.stack(list(figure.points.values()))
    flat, _ = View(1.0, np.zeros(2), distance).project(points)
    low, high = flat.min(axis=0) - 0.04, flat.max(axis=0) + 0.04
    size = np.array(image_hw[::-1], float)
    fit = float(np.min(size / (high - low)))
    if rng.random() < truncated_share:
        scale = fit * rng.uniform(1.05, 1.7)
        anchor = flat[list(figure.points).index(_ANCHORS[rng.integers(len(_ANCHORS))])]
        return View(scale, size * rng.uniform(0.3, 0.7, 2) - 0.5 - scale * anchor, distance)
    scale = fit * rng.uniform(0.62, 0.98)
    slack = size - scale * (high - low)
    return View(scale, slack * rng.uniform(0.2, 0.8, 2) - 0.5 - scale * low, distance)
