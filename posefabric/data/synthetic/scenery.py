"""What is around a person in a photograph: cluttered ground, objects before the body, traces of the camera.

Where it stands in the walk: before stage 1, beside `rendering`, beneath `synthetic`. Clutter borrows the
colours of the person and the forms of limbs, so that neither a colour nor a capsule says where a body is.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from posefabric.data.records import Image
from posefabric.data.synthetic.clothes import Colour, Wardrobe, sample_cloth
from posefabric.data.synthetic.rendering import Canvas

OCCLUDER_ID = 255
"""Value in the part map of an object before the person."""

_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def background(rng: np.random.Generator, wardrobe: Wardrobe, image_hw: tuple[int, int]) -> Image:
    """A wall and a floor with gradients and texture, under clutter, out of focus or not."""
    height, width = image_hw
    tones = np.array([sample_cloth(rng) for _ in range(6)]).reshape(3, 2, 3)
    tones = tones * 0.6 + rng.uniform(20, 100)
    tones[1] = tones[2 * rng.integers(2)]
    ground = cv2.resize(tones.astype(np.float32), (width, height))
    cells = rng.integers(4, 64, 2)
    texture = rng.standard_normal(cells, np.float32) * np.float32(rng.uniform(0, 24))
    grain = cv2.resize(texture, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    canvas = Canvas(np.clip(ground + grain, 0, 255).astype(np.uint8), np.zeros(image_hw, np.uint8))
    palette = (wardrobe.skin, wardrobe.shirt, wardrobe.trousers, wardrobe.hair)
    for _ in range(rng.integers(3, 20)):
        colour = palette[rng.integers(4)] if rng.random() < 0.35 else sample_cloth(rng)
        _clutter(rng, canvas, colour)
    width_px = (1, 1, 3, 5, 7)[rng.integers(5)]
    return cv2.blur(canvas.image, (width_px, width_px))


def _clutter(rng: np.random.Generator, canvas: Canvas, colour: Colour) -> None:
    """A bent or straight limb, a blob, a box, or a line, anywhere in the image."""
    height, width = canvas.parts.shape
    unit = float(min(height, width))
    at = rng.uniform(-0.1, 1.1, 2) * (width, height)
    kind = rng.integers(5)
    if kind < 2:
        joints = at + np.cumsum(rng.normal(0, 0.15 * unit, (3, 2)), axis=0)
        radii = rng.uniform(0.015, 0.06) * unit * rng.uniform(0.5, 1.0, 3)
        canvas.hull((joints[:2], radii[:2]), colour)
        if kind:
            canvas.hull((joints[1:], radii[1:]), colour)
    elif kind == 2:
        canvas.flat((at + rng.normal(0, 0.05 * unit, (4, 2)), rng.uniform(0.02, 0.2, 4) * unit), colour)
    elif kind == 3:
        canvas.polygon(_box(rng, at, rng.uniform(0.03, 0.35, 2) * unit), colour)
    else:
        ends = np.stack([at, at + rng.normal(0, unit, 2)])
        canvas.flat((ends, np.full(2, rng.uniform(0.4, 0.025 * unit))), colour)


def _box(
    rng: np.random.Generator, centre: Float[np.ndarray, "2"], half: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "4 2"]:
    turn = rng.normal(0, 0.2)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners: Float[np.ndarray, "4 2"] = centre + (_CORNERS * half) @ axes
    return corners


def occlude(rng: np.random.Generator, canvas: Canvas) -> None:
    """Put one or two objects before the person; they enter the map of parts."""
    height, width = canvas.parts.shape
    for _ in range(rng.integers(1, 3)):
        centre = rng.uniform(0.1, 0.9, 2) * (width, height)
        outline = _box(rng, centre, rng.uniform(0.04, 0.2, 2) * (width, height))
        canvas.polygon(outline, sample_cloth(rng), OCCLUDER_ID)


def develop(rng: np.random.Generator, image: Image) -> Image:
    """Defocus, exposure, contrast, colour cast and sensor noise."""
    blur = rng.uniform(-0.4, 1.0)
    if blur > 0.25:
        image = cv2.GaussianBlur(image, (3, 3), blur)
    gain = rng.uniform(0.7, 1.2) * (1 + rng.normal(0, 0.05, 3))
    tones = (np.arange(256)[:, None] - 118) * gain + rng.normal(118, 16)
    image = cv2.LUT(image, np.clip(tones, 0, 255).astype(np.uint8)[None])
    noise = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape)
    amount = rng.uniform(0, 0.12)
    return np.asarray(cv2.addWeighted(image, 1.0, noise, amount, -127.5 * amount))
