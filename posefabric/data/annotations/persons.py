"""Behind stage 1 of the walk: one COCO annotation, checked field by field and turned into a person record."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from posefabric.data.annotations.fields import MISSING, Fields, more
from posefabric.data.annotations.problems import Findings, Place, shown
from posefabric.data.records import PersonRecord
from posefabric.skeletons import Skeleton

_VISIBILITIES = {0, 1, 2}

Size = tuple[float, float]
"""Width and height of an image, pixels."""


def read_person(
    fields: Fields, skeleton: Skeleton, ids: tuple[int, int], image_path: str, size: Size | None
) -> PersonRecord | None:
    """The person of an annotation with keypoints, or None where a field is wrong (then told).

    `ids` are those of annotation and image; `size` is the image's, where it is known.
    """
    triples = _triples(fields, skeleton)
    box = fields.numbers("bad-box", "bbox", 4, "x, y, width, height")
    iscrowd = _iscrowd(fields)
    labelled = triples[:, 2] > 0 if triples is not None else None
    counts = labelled is not None and bool(labelled.any()) and not iscrowd
    box = _checked_box(fields, box, counts)
    area = _area(fields, box, counts)
    head_size = fields.number("bad-head-size", "head_size", "a length above 0") if "head_size" in fields.values else 0.0
    if labelled is not None:
        _check_number(fields, int(labelled.sum()))
    if triples is None or labelled is None or box is None or area is None or head_size is None:
        return None
    person = PersonRecord(
        image_id=ids[1],
        annotation_id=ids[0],
        bbox_xyxy=np.concatenate([box[:2], box[:2] + box[2:]]),
        keypoints_xy=np.ascontiguousarray(triples[:, :2]),
        visibility=triples[:, 2].astype(np.int64),
        area=area,
        iscrowd=iscrowd,
        head_size=head_size or None,
        image_path=image_path,
    )
    if iscrowd or not counts:
        kind = "crowds" if iscrowd else "persons without a labelled keypoint"
        fields.findings.note(f"{kind}, which are not scored", fields.place.pointer)
    else:
        check_positions(fields.findings, fields.place, person, size, skeleton)
    return person


def check_positions(
    findings: Findings, place: Place, person: PersonRecord, size: Size | None, skeleton: Skeleton
) -> None:
    """Labelled keypoints lie in the image (where its size is known), or no farther outside than the box is long."""
    labelled = person.visibility > 0
    points_xy = person.keypoints_xy[labelled]
    left, top, right, bottom = person.bbox_xyxy.tolist()
    (x1, y1), (x2, y2) = points_xy.min(axis=0).tolist(), points_xy.max(axis=0).tolist()
    if max(x1, y1) <= 0:
        _check_origin(findings, place, points_xy)
    if size is not None and not (min(x1, y1) >= 0 and x2 <= size[0] and y2 <= size[1]):
        check_in_image(findings, place, person, size, skeleton)
    elif not (left <= x1 and top <= y1 and x2 <= right and y2 <= bottom):
        findings.note("persons with keypoints outside their own box", place.pointer)


def _check_origin(findings: Findings, place: Place, points_xy: Float[np.ndarray, "N 2"]) -> None:
    at_origin = ~points_xy.any(axis=1)
    if at_origin.all():
        found = f"{len(points_xy)} labelled keypoints, all at 0, 0"
        findings.add("labelled-at-origin", place.at("keypoints"), found, "the places of labelled keypoints")
    elif at_origin.any():
        findings.note("persons with a labelled keypoint at exactly 0, 0", place.pointer)


def check_in_image(findings: Findings, place: Place, person: PersonRecord, size: Size, skeleton: Skeleton) -> None:
    """No labelled keypoint is farther outside an image of this size than the longer side of the person's box."""
    points_xy, labelled = person.keypoints_xy, person.visibility > 0
    reach = float((person.bbox_xyxy[2:] - person.bbox_xyxy[:2]).max())
    outside_px = np.maximum(-points_xy, points_xy - np.array(size)).max(axis=1, where=labelled[:, None], initial=0)
    far = outside_px > reach
    if far.any():
        k = int(np.flatnonzero(far)[0])
        x, y = points_xy[k]
        found = f"{x:g}, {y:g} ({skeleton.keypoints[k]}){more(int(far.sum()) - 1)}"
        expected = f"a place in the image of {size[0]:g} x {size[1]:g}, or less than a box ({reach:g} px) outside"
        findings.add("keypoint-outside", place.at("keypoints", 3 * k), found, expected)
    elif outside_px.any():
        findings.note("persons with keypoints outside their image, by less than their box", place.pointer)


def _triples(fields: Fields, skeleton: Skeleton) -> Float[np.ndarray, "K 3"] | None:
    count = skeleton.num_keypoints
    meaning = f"x, y, visibility of {count} keypoints"
    numbers = fields.numbers("bad-keypoints", "keypoints", 3 * count, meaning)
    if numbers is None:
        return None
    triples = numbers.reshape(count, 3)
    if not set(triples[:, 2].tolist()) <= _VISIBILITIES:
        wrong = ~((triples[:, 2] == 0) | (triples[:, 2] == 1) | (triples[:, 2] == 2))
        _bad_visibility(fields, triples, wrong, skeleton)
        return None
    return triples


def _bad_visibility(
    fields: Fields, triples: Float[np.ndarray, "K 3"], wrong: Bool[np.ndarray, " K"], skeleton: Skeleton
) -> None:
    k = int(np.flatnonzero(wrong)[0])
    found = f"{triples[k, 2]:g} ({skeleton.keypoints[k]}){more(int(wrong.sum()) - 1)}"
    is_score = bool(((triples[:, 2] >= 0) & (triples[:, 2] < 1)).all())
    fix = "scores stand there: this is a list of results, or write 2 for what is labelled" if is_score else ""
    fields.bad("bad-visibility", "keypoints", found, "a visibility of 0, 1 or 2", 3 * k + 2, fix=fix)


def _iscrowd(fields: Fields) -> bool:
    value = fields.get("iscrowd")
    if value is MISSING:
        fields.bad("missing-iscrowd", "iscrowd", "nothing", "0 or 1")
        return False
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    fields.bad("bad-iscrowd", "iscrowd", shown(value), "0 or 1")
    return False


def _checked_box(fields: Fields, box: Float[np.ndarray, "4"] | None, counts: bool) -> Float[np.ndarray, "4"] | None:
    if box is None:
        return None
    width, height = box[2:].tolist()
    if min(width, height) < 0 or (counts and min(width, height) == 0):
        allowed = "a width and a height above 0"
        fix = "write x, y, width, height, not two corners" if min(width, height) < 0 else ""
        fields.bad("bad-box", "bbox", shown(fields.get("bbox")), allowed, fix=fix)
        return None
    return box


def _area(fields: Fields, box: Float[np.ndarray, "4"] | None, counts: bool) -> float | None:
    """The area in square pixels; the box's where there is none."""
    if fields.get("area") is MISSING:
        fields.bad("missing-area", "area", "nothing", "the person's area in square pixels")
        return float(box[2] * box[3]) if box is not None else None
    area = fields.number("bad-area", "area", "a number of square pixels above 0")
    if area == 0 and counts:
        fields.bad("bad-area", "area", "0", "a number of square pixels above 0")
        return None
    return area


def _check_number(fields: Fields, count: int) -> None:
    value = fields.get("num_keypoints")
    if value is MISSING:
        fields.bad("missing-num-keypoints", "num_keypoints", "nothing", f"{count}")
    elif isinstance(value, bool) or value != count:
        fields.bad("num-keypoints", "num_keypoints", shown(value), f"{count}, the keypoints with a visibility above 0")
