"""Articulated people before any picture: a random build in a random pose, as points of a 3D body.

Where it stands in the walk: before stage 1, beneath `synthetic`, which photographs these figures. Lengths are
in statures (a standing adult is about 1). The body frame is (left, up, front) with the pelvis at the origin;
a finished figure stands in the camera frame (right, down, away). Both are right-handed, so nothing is ever
mirrored: left and right differ by where they are and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SIDES = (("left", 1.0), ("right", -1.0))

Range = tuple[float, float]
Style = tuple[float, Range, Range, Range, Range]
"""How likely a style is, then ranges in degrees."""

ARM_STYLES: dict[str, Style] = {  # forward swing, sideways lift, inward twist, elbow
    "hanging": (0.30, (-20, 25), (4, 20), (-30, 40), (0, 35)),
    "running": (0.12, (-60, 50), (4, 20), (-10, 50), (60, 120)),
    "akimbo": (0.10, (-30, -5), (35, 55), (55, 85), (75, 110)),
    "forward": (0.12, (45, 110), (-10, 30), (-20, 60), (0, 90)),
    "crossed": (0.08, (20, 45), (-5, 15), (55, 85), (75, 110)),
    "sideways": (0.10, (-10, 30), (55, 110), (-90, 60), (0, 110)),
    "raised": (0.10, (-10, 30), (115, 172), (-60, 60), (0, 80)),
    "to the face": (0.08, (20, 70), (5, 45), (15, 60), (105, 142)),
}
LEG_STYLES: dict[str, Style] = {  # forward swing, sideways lift, inward twist, knee
    "standing": (0.34, (-8, 12), (0, 10), (-25, 10), (0, 12)),
    "walking": (0.18, (-28, 38), (-2, 8), (-15, 10), (0, 45)),
    "running": (0.12, (-35, 80), (-2, 10), (-15, 15), (10, 105)),
    "astride": (0.10, (-10, 25), (12, 42), (-35, 10), (0, 45)),
    "sitting": (0.12, (70, 100), (0, 25), (-20, 10), (55, 110)),
    "crouching": (0.06, (85, 125), (5, 35), (-25, 5), (95, 140)),
    "kneeling": (0.04, (-10, 25), (0, 15), (-15, 10), (85, 130)),
    "kicking": (0.04, (-40, 105), (0, 50), (-30, 20), (0, 60)),
}
TRUNK_STYLES: dict[str, Style] = {  # forward bend, sideways bend, turn, nod of the head
    "upright": (0.66, (-8, 14), (-7, 7), (-15, 15), (-15, 20)),
    "bent": (0.18, (20, 75), (-12, 12), (-25, 25), (-35, 20)),
    "leaning": (0.16, (-22, 25), (-28, 28), (-35, 35), (-20, 25)),
}


@dataclass(frozen=True, eq=False)
class Figure:
    """One posed body in the camera frame, in statures.

    `points` holds every keypoint the embedded skeletons name, and the points that `BODY` hangs flesh on. The
    columns of `head` are the half axes (left, up, front) of the head, an ellipsoid around `points["skull"]`.
    `facing` is where the chest points to. `girth` multiplies the radii of `BODY`.
    """

    points: dict[str, Float[np.ndarray, "3"]]
    head: Float[np.ndarray, "3 3"]
    facing: Float[np.ndarray, "3"]
    girth: float


def _limbs(side: str) -> dict[str, tuple[tuple[str, float], ...]]:
    return {
        f"{side}_upper_arm": ((f"{side}_shoulder", 0.036), (f"{side}_elbow", 0.026)),
        f"{side}_forearm": ((f"{side}_elbow", 0.026), (f"{side}_wrist", 0.018)),
        f"{side}_hand": ((f"{side}_wrist", 0.017), (f"{side}_palm", 0.023), (f"{side}_fingers", 0.013)),
        f"{side}_thigh": ((f"{side}_hip", 0.058), (f"{side}_knee", 0.036)),
        f"{side}_shin": ((f"{side}_knee", 0.036), (f"{side}_ankle", 0.022)),
        f"{side}_foot": ((f"{side}_heel", 0.022), (f"{side}_ankle", 0.022), (f"{side}_toes", 0.016)),
        f"{side}_torso": (
            ("thorax", 0.03),
            (f"{side}_shoulder", 0.036),
            (f"{side}_chest", 0.064),
            (f"{side}_waist", 0.056),
            (f"{side}_hip", 0.06),
            ("pelvis", 0.03),
        ),
    }


BODY: dict[str, tuple[tuple[str, float], ...]] = {
    "neck": (("upper_neck", 0.03), ("neck", 0.034)),
    **_limbs("left"),
    **_limbs("right"),
}
"""Part -> the (point, radius) of its spheres: a part is the convex hull of them."""

FACE: dict[str, tuple[float, float, float]] = {
    "nose": (0.0, -0.18, 1.13),
    "left_eye": (0.36, 0.12, 0.89),
    "right_eye": (-0.36, 0.12, 0.89),
    "left_ear": (1.03, -0.05, -0.08),
    "right_ear": (-1.03, -0.05, -0.08),
    "head_top": (0.0, 1.0, -0.05),
}
"""Points of the head in units of its half axes (left, up, front)."""


def sample_figure(rng: np.random.Generator, variety: float = 1.0) -> Figure:
    """Draw a build and a pose; a function of the generator's state and of `variety` (see `SyntheticPeople`)."""
    turns = _rotations(_sample_angles(rng, variety))
    camera = turns[_ROLL] @ turns[_VIEW]
    chest = turns[_CHEST]
    arm_lengths, leg_lengths = _LIMB_LENGTHS * (1 + 0.06 * rng.standard_normal((2, 2)))
    points = _trunk(chest, 1 + 0.08 * rng.standard_normal(3))
    for side, _ in SIDES:
        arm, leg = _ARM[side], _LEG[side]
        points |= _arm(side, points[f"{side}_shoulder"], chest @ turns[arm], turns[arm + 1], arm_lengths)
        points |= _leg(side, points[f"{side}_hip"], turns[leg : leg + 3], leg_lengths)
    half_axes = np.array([0.048, 0.068, 0.06]) * (1 + 0.05 * rng.standard_normal(3))
    head = chest @ turns[_HEAD] * half_axes
    points["skull"] = points["upper_neck"] + head @ (0.0, 0.86, 0.14)
    points |= {name: points["skull"] + head @ place for name, place in FACE.items()}
    placed = np.stack(list(points.values())) @ camera.T * _TO_CAMERA
    return Figure(
        points=dict(zip(points, placed, strict=True)),
        head=_TO_CAMERA[:, None] * (camera @ head),
        facing=_TO_CAMERA * (camera @ chest[:, 2]),
        girth=float(np.clip(rng.lognormal(0.05, 0.16), 0.78, 1.5)),
    )


_LIMB_LENGTHS = np.array([[0.168, 0.148], [0.245, 0.242]])
"""Upper arm and forearm, thigh and shin."""

_TO_CAMERA = np.array([1.0, -1.0, -1.0])
"""(left, up, front) of a body that faces the camera -> (right, down, away)."""

_ROLL, _VIEW, _CHEST, _HEAD = range(4)
_ARM, _LEG = {"left": 4, "right": 6}, {"left": 8, "right": 11}


def _pick_style(rng: np.random.Generator, styles: dict[str, Style]) -> Style:
    """One style, drawn by its likelihood."""
    shares = np.cumsum([style[0] for style in styles.values()])
    return list(styles.values())[int(np.searchsorted(shares, rng.random() * shares[-1]))]


def _within(rng: np.random.Generator, style: Style) -> list[float]:
    """Four angles in degrees, uniform in the ranges of a style."""
    return [low + (high - low) * share for (low, high), share in zip(style[1:], rng.random(4), strict=True)]


def _sample_angles(rng: np.random.Generator, variety: float) -> Float[np.ndarray, "14 3"]:
    """Pitch, roll and yaw in degrees of each turn: `_ROLL`, `_VIEW`, ..., and those of `_ARM` and `_LEG`."""
    angles = np.zeros((14, 3))
    tilt = rng.random() / variety
    angles[_ROLL, 1] = rng.uniform(-180, 180) if tilt < 0.08 else rng.normal(0, 30 if tilt < 0.28 else 6)
    angles[_VIEW] = rng.normal(4, 22 if tilt < 0.28 else 9), 0.0, variety * rng.uniform(-180, 180)
    bend, lean, turn, nod = _within(rng, _pick_style(rng, TRUNK_STYLES))
    angles[_CHEST] = bend, lean, turn
    angles[_HEAD] = nod, rng.normal(0, 8), np.clip(rng.normal(0, 26), -70, 70)
    legs = _pick_style(rng, LEG_STYLES)
    for side, sign in SIDES:
        swing, lift, twist, elbow = _within(rng, _pick_style(rng, ARM_STYLES))
        angles[_ARM[side]] = -swing, sign * lift, -sign * twist
        angles[_ARM[side] + 1, 0] = -elbow
        swing, lift, twist, knee = _within(rng, legs)
        angles[_LEG[side]] = -swing, sign * lift, -sign * twist
        angles[_LEG[side] + 1, 0] = knee
        angles[_LEG[side] + 2, 0] = rng.uniform(-10, 35)
    angles[_CHEST:] *= 0.4 + 0.6 * variety
    return angles


def _rotations(degrees: Float[np.ndarray, "J 3"]) -> Float[np.ndarray, "J 3 3"]:
    """Rotations Rx(pitch) Rz(roll) Ry(yaw) of a right-handed frame; a limb at rest points to -y."""
    (cp, cr, cy), (sp, sr, sy) = np.cos(np.radians(degrees)).T, np.sin(np.radians(degrees)).T
    first = np.stack([cr * cy, -sr, cr * sy], axis=-1)
    second = np.stack([sr * cy, cr, sr * sy], axis=-1)
    third = np.stack([-sy, np.zeros_like(sy), cy], axis=-1)
    cp, sp = cp[:, None], sp[:, None]
    return np.stack([first, cp * second - sp * third, sp * second + cp * third], axis=1)


def _trunk(chest: Float[np.ndarray, "3 3"], widths: Float[np.ndarray, "3"]) -> dict[str, Float[np.ndarray, "3"]]:
    shoulders, waist, hips = widths
    spine = np.array([0.0, 0.09, 0.0])
    points = {
        "pelvis": np.zeros(3),
        "thorax": spine + chest @ (0.0, 0.2, 0.0),
        "neck": spine + chest @ (0.0, 0.222, 0.004),
        "upper_neck": spine + chest @ (0.0, 0.262, 0.012),
        "nape": spine + chest @ (0.0, 0.19, -0.07),
        "collar": spine + chest @ (0.0, 0.165, 0.075),
    }
    for side, sign in SIDES:
        points[f"{side}_hip"] = np.array([sign * 0.056 * hips, 0.0, 0.0])
        points[f"{side}_waist"] = np.array([sign * 0.042 * waist, 0.085, 0.004])
        points[f"{side}_chest"] = spine + chest @ (sign * 0.055 * shoulders, 0.11, 0.008)
        points[f"{side}_shoulder"] = spine + chest @ (sign * 0.112 * shoulders, 0.195, 0.0)
    return points


def _arm(
    side: str,
    shoulder: Float[np.ndarray, "3"],
    upper: Float[np.ndarray, "3 3"],
    elbow: Float[np.ndarray, "3 3"],
    lengths: Float[np.ndarray, "2"],
) -> dict[str, Float[np.ndarray, "3"]]:
    lower = upper @ elbow
    bend = shoulder - lengths[0] * upper[:, 1]
    wrist = bend - lengths[1] * lower[:, 1]
    return {
        f"{side}_elbow": bend,
        f"{side}_wrist": wrist,
        f"{side}_palm": wrist - 0.04 * lower[:, 1],
        f"{side}_fingers": wrist - 0.08 * lower[:, 1] + 0.012 * lower[:, 2],
    }


def _leg(
    side: str,
    hip: Float[np.ndarray, "3"],
    turns: Float[np.ndarray, "3 3 3"],
    lengths: Float[np.ndarray, "2"],
) -> dict[str, Float[np.ndarray, "3"]]:
    lower = turns[0] @ turns[1]
    foot = lower @ turns[2]
    knee = hip - lengths[0] * turns[0][:, 1]
    ankle = knee - lengths[1] * lower[:, 1]
    return {
        f"{side}_knee": knee,
        f"{side}_ankle": ankle,
        f"{side}_heel": ankle + foot @ (0.0, -0.022, -0.022),
        f"{side}_toes": ankle + foot @ (0.0, -0.028, 0.105),
    }
