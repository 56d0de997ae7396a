"""Stage 1 of the walk: MPII's annotations as released, `mpii_human_pose_v1_u12_1.mat`.

A MATLAB struct `RELEASE` of arrays over images. What is left out there is left out in every way MATLAB has: the field
is missing from an image's struct, or is empty for one person; a flag is a number, the character '0' or '1', or empty.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from posefabric.data.imports.mpii_person import MpiiPerson, all_read, bad_entry
from posefabric.data.records import MPII_HEAD_SHARE
from posefabric.errors import UserError
from posefabric.matlab import read_mat

logger = logging.getLogger(__name__)


def read_release(path: Path) -> list[MpiiPerson]:
    """The persons of the release that have a centre and a scale, image by image.

    Of training images, those with labelled keypoints; which are for validation the release does not say (`split`
    None). Of test images, whose keypoints are withheld, all ("test"). Who is left out is counted in the log. Raises
    `UserError`: "missing-file", or "bad-annotation" naming image and person.
    """
    release = read_mat(path, code="bad-annotation").get("RELEASE")
    fields = getattr(getattr(release, "dtype", None), "names", None) or ()
    if release is None or not release.size or not {"annolist", "img_train"} <= set(fields):
        raise UserError("bad-annotation", f"{path} has no struct RELEASE with annolist and img_train", "MPII's release")
    images, training = np.ravel(release.flat[0]["annolist"]), np.ravel(release.flat[0]["img_train"])
    if len(images) != len(training):
        raise bad_entry(
            f"{path.name}: img_train", f"has {len(training)} entries", f"one for each of {len(images)} images"
        )
    left_out: Counter[str] = Counter()
    persons = list(
        all_read(
            partial(_person, image, p, f"{path.name}: annolist({i})", None if is_training else "test", left_out)
            for i, (image, is_training) in enumerate(zip(images, training, strict=True), start=1)
            for p in range(_num_rectangles(image))
        )
    )
    for reason, count in (+left_out).items():
        logger.info("%s: %d %s are left out", path.name, count, reason)
    return persons


def _num_rectangles(image: np.void) -> int:
    rectangles = _field(image, "annorect")
    return 0 if rectangles is None or rectangles.dtype.names is None else rectangles.size


def _person(
    image: np.void, number: int, image_place: str, split: str | None, left_out: Counter[str]
) -> MpiiPerson | None:
    rectangle = image["annorect"].flat[number]
    place = f"{image_place}.annorect({number + 1})"
    name = _field(_first(image, "image"), "name")
    points = _field(_first(rectangle, "annopoints"), "point")
    centre = _first(rectangle, "objpos")
    x, y = _number(centre, "x", place), _number(centre, "y", place)
    scale = _number(rectangle, "scale", place)
    if points is None and split is None:
        left_out["persons of training images without keypoints"] += 1
        return None
    if x is None or y is None or scale is None or (scale <= 0 and split == "test"):
        left_out["persons without a centre or a scale"] += 1
        return None
    if name is None:
        raise bad_entry(f"{image_place}.image.name", "is missing", "the name of an image file")
    if scale <= 0:
        raise bad_entry(f"{place}.scale", f"is {scale:g}", "a person's height in units of 200 px, above 0")
    keypoints_xy, visibility = _keypoints(points, place, left_out)
    return MpiiPerson(
        place=place,
        image=str(name.flat[0]),
        centre_xy=np.array([x, y]),
        scale=scale,
        keypoints_xy=keypoints_xy,
        visibility=visibility,
        split=split,
        head_size=_head_size(rectangle, place),
    )


def _keypoints(points: np.ndarray | None, place: str, left_out: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """0-based places and visibilities; a keypoint without a flag counts as visible, of two places the later."""
    keypoints_xy, visibility = np.zeros((16, 2)), np.zeros(16, dtype=np.int64)
    for n, point in enumerate(np.ravel(points) if points is not None else ()):
        where = f"{place}.annopoints.point({n + 1})"
        number, x, y = (_number(point, key, where) for key in ("id", "x", "y"))
        if number is None or number not in range(16):
            raise bad_entry(f"{where}.id", f"is {number}", "the number of a keypoint, 0 to 15")
        if x is None or y is None:
            raise bad_entry(where, "has no place", "numbers x and y")
        k = int(number)
        left_out["places of keypoints labelled twice"] += int(visibility[k] > 0)
        keypoints_xy[k] = x - 1, y - 1
        visibility[k] = 1 if _number(point, "is_visible", where) == 0 else 2
    return keypoints_xy, visibility


def _head_size(rectangle: np.void, place: str) -> float | None:
    """In pixels; None where there is no head box."""
    x1, y1, x2, y2 = (_number(rectangle, key, place) for key in ("x1", "y1", "x2", "y2"))
    if x1 is None or y1 is None or x2 is None or y2 is None:
        return None
    size = MPII_HEAD_SHARE * math.hypot(x2 - x1, y2 - y1)
    if size == 0:
        raise bad_entry(place, f"has a head box of size 0 at ({x1:g}, {y1:g})", "corners x1, y1 and x2, y2 that differ")
    return size


def _field(struct: np.void | None, name: str) -> np.ndarray | None:
    """A field of a struct, or None where it is missing or empty."""
    if struct is None or name not in (struct.dtype.names or ()):
        return None
    value: np.ndarray = np.asarray(struct[name])
    return value if value.size else None


def _first(struct: np.void, name: str) -> np.void | None:
    """The struct in a field of a struct, or None where it is missing or empty."""
    value = _field(struct, name)
    return None if value is None or value.dtype.names is None else value.flat[0]


def _number(struct: np.void | None, name: str, place: str) -> float | None:
    """The finite number in a field, as number or text, or None where it is missing or empty."""
    value = _field(struct, name)
    if value is None:
        return None
    first: Any = value.flat[0]
    try:
        number = float(first)
    except (TypeError, ValueError) as error:
        raise bad_entry(f"{place}.{name}", f"is {first!r}"[:60], "a number") from error
    if not math.isfinite(number):
        raise bad_entry(f"{place}.{name}", f"is {number}", "a finite number")
    return number
