"""Painting a figure: projection, clothes, and body parts from far to near, with a map of which part is seen.

Where it stands in the walk: before stage 1, between `figures` (3D bodies) and `synthetic` (photographs of
them). Every part is the convex hull of spheres, so its picture is the convex hull of discs. What the painter
covers is what a photograph would hide: the map of parts is the one truth about visibility.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int32, UInt8

from posefabric.data.records import Image
from posefabric.data.synthetic.clothes import Colour, Wardrobe, shade
from posefabric.data.synthetic.figures import BODY, FACE, SIDES, Figure

Sphere = tuple[str, float]
Discs = tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, " N"]]
"""Centres and radii in px."""

_HEAD_PARTS = ("head", "hair", "nose", "left_eye", "right_eye", "left_ear", "right_ear")
PART_IDS = {name: number for number, name in enumerate((*BODY, "skirt", *_HEAD_PARTS), start=1)}
"""Value of a part in the part map; 0 is the background."""

_FIXED_POINT_BITS = 5
_CIRCLE = np.stack([1.013 * f(np.arange(14) * np.pi / 7) for f in (np.cos, np.sin)], axis=1)
"""A polygon with about the area of the unit circle."""

_TONES = ((0.8, 1.0, 0.0), (1.0, 0.72, 0.16), (1.1, 0.36, 0.3))
"""Brightness, share of the radius, and shift towards the light in radii, from the edge of a part inwards."""


def _spokes(light: Float[np.ndarray, "2"]) -> Float[np.ndarray, "T A 2"]:
    """What to add to the centre of a unit disc to reach its edge, for each tone."""
    return np.stack([share * _CIRCLE + shift * light for _, share, shift in _TONES])


_LIGHT = np.array([-0.5, -0.86])
_SPOKES = _spokes(_LIGHT)


@dataclass(frozen=True, eq=False)
class View:
    """Weak perspective: `scale` px per stature at depth 0, a camera `distance` statures away."""

    scale: float
    offset_xy: Float[np.ndarray, "2"]
    distance: float

    def project(self, points: Float[np.ndarray, "N 3"]) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, " N"]]:
        """Image positions, and px per stature there."""
        size = self.scale * self.distance / (self.distance + points[:, 2])
        return points[:, :2] * size[:, None] + self.offset_xy, size


@dataclass(frozen=True, eq=False)
class Canvas:
    """A picture and its part map, painted together; fractions of a pixel count."""

    image: Image
    parts: UInt8[np.ndarray, "height width"]

    def polygon(self, outline: Float[np.ndarray, "N 2"], colour: Colour, part: int | None = None) -> None:
        """Fill an outline of any form; a part enters the map too."""
        fixed = _fixed_point(outline)
        cv2.fillPoly(self.image, [fixed], colour, cv2.LINE_AA, _FIXED_POINT_BITS)
        if part is not None:
            cv2.fillPoly(self.parts, [fixed], part, cv2.LINE_8, _FIXED_POINT_BITS)

    def hull(self, discs: Discs, colour: Colour, part: int | None = None) -> None:
        """Fill the hull of discs, rounded by light from above left; a part enters the map too."""
        outlines = _outlines(discs)
        for outline, (gain, _, _) in zip(outlines, _TONES, strict=True):
            cv2.fillConvexPoly(self.image, outline, shade(colour, gain), cv2.LINE_AA, _FIXED_POINT_BITS)
        if part is not None:
            cv2.fillConvexPoly(self.parts, outlines[0], part, cv2.LINE_8, _FIXED_POINT_BITS)

    def flat(self, discs: Discs, colour: Colour) -> None:
        """Fill the hull of discs in one colour."""
        (outline,) = _outlines(discs, num_tones=1)
        cv2.fillConvexPoly(self.image, outline, colour, cv2.LINE_AA, _FIXED_POINT_BITS)

    def mark(self, discs: Discs, part: int) -> None:
        """Enter the hull of discs in the map of parts alone."""
        (outline,) = _outlines(discs, num_tones=1)
        cv2.fillConvexPoly(self.parts, outline, part, cv2.LINE_8, _FIXED_POINT_BITS)


def _outlines(discs: Discs, num_tones: int = len(_TONES)) -> Int32[np.ndarray, "T M 2"]:
    """The hull of discs, once for each tone."""
    xy, radii = discs
    circles = xy[:, None] + radii[:, None, None] * _CIRCLE
    on_hull = cv2.convexHull(circles.reshape(-1, 2).astype(np.float32), returnPoints=False)[:, 0]
    disc, spoke = on_hull // len(_CIRCLE), on_hull % len(_CIRCLE)
    return _fixed_point(xy[disc] + radii[disc, None] * _SPOKES[:num_tones, spoke])


def _fixed_point(xy: Float[np.ndarray, "*N 2"]) -> Int32[np.ndarray, "*N 2"]:
    return np.ascontiguousarray(np.rint(xy * (1 << _FIXED_POINT_BITS)), np.int32)


class Painter:
    """Paints one figure, dressed, as seen in a view."""

    def __init__(self, canvas: Canvas, view: View, figure: Figure, wardrobe: Wardrobe) -> None:
        self.canvas, self.view, self.figure, self.wardrobe = canvas, view, figure, wardrobe
        self._index = {name: index for index, name in enumerate(figure.points)}
        points = np.stack(list(figure.points.values()))
        self._depths = dict(zip(figure.points, points[:, 2].tolist(), strict=True))
        self._xy, self._size = view.project(points)

    def paint(self) -> None:
        """All parts, the far ones first."""
        layers: list[tuple[float, Callable[[str], None], str]]
        layers = [(self._depth(BODY[name]), self._limb, name) for name in BODY if "torso" not in name]
        layers.append((self._depth(_TORSO), self._torso, "torso"))
        layers.append((self._depth(_SKULL), self._head, "head"))
        if self.wardrobe.hair_length > 1:
            layers.append((self._depth(_LONG_HAIR), self._hair, "hair"))
        if self.wardrobe.skirt:
            layers.append((self._depth(_SKIRT), self._skirt, "skirt"))
        for _, paint, name in sorted(layers, key=lambda layer: -layer[0]):
            paint(name)

    def _depth(self, spheres: Sequence[Sphere]) -> float:
        return float(sum(self._depths[name] for name, _ in spheres) / len(spheres))

    def _discs(self, spheres: Sequence[Sphere], looseness: float = 1.0) -> Discs:
        names, radii = zip(*spheres, strict=True)
        index = [self._index[name] for name in names]
        return self._xy[index], np.array(radii) * self._size[index] * (self.figure.girth * looseness)

    def _limb(self, name: str) -> None:
        """Skin, and over it as much cloth as the wardrobe lays on this part, from its first sphere on."""
        wardrobe, part = self.wardrobe, PART_IDS[name]
        kind = name.split("_", 1)[-1]
        cover, cloth = {
            "upper_arm": (wardrobe.sleeve, wardrobe.shirt),
            "forearm": (wardrobe.sleeve - 1, wardrobe.shirt),
            "thigh": (wardrobe.trouser, wardrobe.trousers),
            "shin": (wardrobe.trouser - 1, wardrobe.trousers),
        }.get(kind, (0.0, wardrobe.skin))
        xy, radii = self._discs(BODY[name])
        if cover < 1:
            self.canvas.hull((xy, radii), wardrobe.shoes if kind == "foot" else wardrobe.skin, part)
        if cover > 0:
            reach = np.array([[1.0, 0.0], [max(1 - cover, 0.0), min(cover, 1.0)]])
            discs = reach @ xy, reach @ radii * wardrobe.looseness
            self.canvas.hull(discs, cloth, part)
            if cloth is wardrobe.shirt:
                self._weave(discs)

    def _torso(self, name: str) -> None:
        """Trousers, shirt and collar; in the map of parts the far half of the trunk, then the near one."""
        wardrobe, canvas = self.wardrobe, self.canvas
        xy, radii = self._discs(_TORSO, wardrobe.looseness)
        canvas.hull((xy[5:], radii[5:]), wardrobe.trousers)
        hem = np.eye(9)
        hem[7:, 5:7], hem[7:, 7:] = (1 - wardrobe.hem) * np.eye(2), wardrobe.hem * np.eye(2)
        canvas.hull((hem @ xy, radii), wardrobe.shirt)
        self._weave((hem @ xy, radii))
        halves = {half: self._depth(BODY[half]) for half in ("left_torso", "right_torso")}
        for half in sorted(halves, key=lambda half: -halves[half]):
            canvas.mark(self._discs(BODY[half], wardrobe.looseness), PART_IDS[half])
        if wardrobe.collar and self.figure.facing[2] < -0.25:
            canvas.flat(self._discs((("neck", 0.03), ("collar", 0.01))), shade(wardrobe.skin, 0.95))

    def _hair(self, name: str) -> None:
        xy, radii = self._discs(_LONG_HAIR)
        xy[1] = xy[0] + (self.wardrobe.hair_length - 1) * (xy[1] - xy[0])
        self.canvas.hull((xy, radii / self.figure.girth), self.wardrobe.hair, PART_IDS[name])

    def _skirt(self, name: str) -> None:
        xy, radii = self._discs(_SKIRT, self.wardrobe.looseness)
        xy[2:] = 0.35 * xy[:2] + 0.65 * xy[2:]
        self.canvas.hull((xy, radii), self.wardrobe.trousers, PART_IDS[name])

    def _weave(self, discs: Discs) -> None:
        """Stripes or checks, running with the trunk, on cloth just painted."""
        wardrobe = self.wardrobe
        if not wardrobe.pattern:
            return
        cloth = Canvas(self.canvas.image, np.zeros_like(self.canvas.parts))
        cloth.mark(discs, 1)
        rows, columns = np.nonzero(cloth.parts)
        top, bottom = self._xy[self._index["thorax"]], self._xy[self._index["pelvis"]]
        right, down = (bottom - top) / (np.linalg.norm(bottom - top) + 1e-6) / self.view.scale
        along, across = columns * right + rows * down, columns * down - rows * right
        dark = np.sin(wardrobe.stripes * along) + np.sin(wardrobe.checks * across) > 0.3
        rows, columns = rows[dark], columns[dark]
        self.canvas.image[rows, columns] = self.canvas.image[rows, columns] * (1 - wardrobe.pattern)

    def _head(self, name: str) -> None:
        """Skull, hair and face; of the features, those turned away come first."""
        away = np.linalg.solve(self.figure.head, (0.0, 0.0, 1.0))
        away /= np.linalg.norm(away)
        turned_away = _FEATURE_DIRECTIONS @ away > _FEATURE_HORIZON
        if self.wardrobe.hair_length > 1.5:
            turned_away |= _EARS
        for feature in np.flatnonzero(turned_away & _PROTRUDES):
            self._feature(_FEATURE_NAMES[feature])
        self._skull(away, PART_IDS[name])
        for feature in np.flatnonzero(~turned_away):
            self._feature(_FEATURE_NAMES[feature])

    def _skull(self, away: Float[np.ndarray, "3"], part: int) -> None:
        """An ellipsoid under hair with a cap of skin as face; `away` is from the camera, in half axes."""
        wardrobe, canvas, skull = self.wardrobe, self.canvas, self._index["skull"]
        centre, flat = self._xy[skull], self.figure.head[:2] * self._size[skull]
        seen = flat @ (np.eye(3) - np.outer(away, away))
        outline = _CIRCLE @ np.linalg.cholesky(seen @ seen.T).T
        crown = centre + flat @ _HAIR_SHIFT if wardrobe.hair_length else centre
        canvas.polygon(centre + outline, shade(wardrobe.skin, 0.9), part)
        canvas.polygon(crown + outline * 1.04, shade(wardrobe.hair, 0.85), part)
        rim = _FACE_RIM - np.maximum(_FACE_RIM @ away, 0)[:, None] * away
        rim = rim / np.linalg.norm(rim, axis=1, keepdims=True) @ flat.T
        if _FACE_AXIS @ away > _FACE_REACH:  # the rim encloses what is seen of the hair
            canvas.polygon(centre + outline, shade(wardrobe.skin, 0.9))
            canvas.polygon(centre + rim, shade(wardrobe.hair, 0.85))
            canvas.polygon(centre + rim * 0.75, wardrobe.hair)
        else:
            canvas.polygon(crown + outline * 0.7, wardrobe.hair)
            canvas.polygon(centre + rim, shade(wardrobe.skin, 0.9))
            canvas.polygon(centre + rim * 0.92 + 0.06 * flat @ _FACE_AXIS, wardrobe.skin)

    def _feature(self, feature: str) -> None:
        """An eye, ear, brow, nose or mouth; what is a keypoint is at least a pixel wide."""
        canvas, skin = self.canvas, self.wardrobe.skin
        ends, width = _FEATURES[feature]
        xy, size = self.view.project(np.array(ends) @ self.figure.head.T + self.figure.points["skull"])
        radii = width * size
        if feature == "mouth":
            canvas.flat((xy, radii), (skin[0] * 0.8, skin[1] * 0.55, skin[2] * 0.55))
        elif feature.endswith("brow"):
            canvas.flat((xy, radii), shade(self.wardrobe.hair, 0.8))
        elif feature.endswith("eye"):
            canvas.flat((xy, radii * 1.3), _EYE_WHITE)
            canvas.flat((xy.mean(axis=0, keepdims=True), radii[:1]), _PUPIL)
            canvas.mark((xy, np.maximum(radii, 1.0)), PART_IDS[feature])
        else:
            canvas.flat((xy, radii), shade(skin, 0.75))
            canvas.flat((xy + 0.4 * _LIGHT * radii[:, None], radii * 0.6), shade(skin, 1.04))
            canvas.mark((xy, np.maximum(radii, 1.0)), PART_IDS[feature])


def _face_rim() -> Float[np.ndarray, "24 3"]:
    """The hairline: a circle around the axis of the face."""
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
    side, up = np.array([1.0, 0.0, 0.0]), np.cross(_FACE_AXIS, (1.0, 0.0, 0.0))
    circle = np.cos(around) * side + np.sin(around) * up
    return np.asarray(_FACE_REACH * _FACE_AXIS + np.sqrt(1 - _FACE_REACH**2) * circle)


Feature = tuple[tuple[tuple[float, float, float], tuple[float, float, float]], float]


def _side_features(side: str, sign: float) -> dict[str, Feature]:
    (x, y, z), (ear_x, ear_y, ear_z) = FACE["left_eye"], FACE["left_ear"]
    brow = (sign * 0.54, 0.3, 0.79), (sign * 0.2, 0.32, 0.92)
    eye = (sign * (x + 0.08), y, z - 0.03), (sign * (x - 0.08), y, z + 0.03)
    ear = (sign * ear_x, ear_y + 0.12, ear_z - 0.02), (sign * ear_x, ear_y - 0.12, ear_z + 0.02)
    return {f"{side}_brow": (brow, 0.003), f"{side}_eye": (eye, 0.0055), f"{side}_ear": (ear, 0.01)}


_FEATURES: dict[str, Feature] = {
    "mouth": (((0.24, -0.5, 0.83), (-0.24, -0.5, 0.83)), 0.004),
    **_side_features("left", 1.0),
    **_side_features("right", -1.0),
    "nose": ((FACE["nose"], (0.0, -0.04, 1.0)), 0.007),
}
"""Feature -> the ends of its stroke in half axes of the head, and its radius in statures."""

_FEATURE_NAMES = tuple(_FEATURES)
_FEATURE_DIRECTIONS = np.array([np.mean(ends, axis=0) for ends, _ in _FEATURES.values()])
_EARS = np.array([name.endswith("ear") for name in _FEATURES])
_PROTRUDES = _EARS | np.array([name == "nose" for name in _FEATURES])
_FEATURE_HORIZON = np.where(_EARS, 0.35, np.where(_PROTRUDES, 0.05, -0.08))
"""A feature is turned away when its direction goes away from the camera by more than this."""

_HAIR_SHIFT = np.array([0.0, 0.06, -0.04])
_FACE_AXIS = np.array([0.0, -0.42, 0.907])
_FACE_REACH = np.cos(np.radians(66))
"""Cosine of the angle between the axis of the face and the hairline."""
_FACE_RIM = _face_rim()
_EYE_WHITE, _PUPIL = (235.0, 232.0, 228.0), (35.0, 25.0, 22.0)
_TORSO: tuple[Sphere, ...] = (
    BODY["left_torso"][0],
    *(BODY[f"{side}_torso"][sphere] for sphere in (1, 2, 3, 4) for side, _ in SIDES),
)
"""Thorax, then left and right shoulder, chest, waist and hip."""
_SKULL: tuple[Sphere, ...] = (("skull", 0.06),)
_LONG_HAIR: tuple[Sphere, ...] = (("skull", 0.05), ("nape", 0.05))
_SKIRT: tuple[Sphere, ...] = tuple(
    (f"{side}_{at}", radius) for at, radius in (("hip", 0.06), ("knee", 0.05)) for side, _ in SIDES
)
