"""COCO result files: keypoints to be scored (stage 10 of the walk) and boxes to be looked into (stage 1).

Every problem of a file is told at once. Results of other categories are left out and counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from posefabric.data.annotations.fields import LARGEST, Fields
from posefabric.data.annotations.json_entries import Entry, JsonError, Opening, read_entries
from posefabric.data.annotations.json_problems import (
    as_id,
    check_bytes,
    check_hope,
    check_id,
    tell_constants,
    tell_json_error,
)
from posefabric.data.annotations.problems import Findings, Place, shown
from posefabric.data.records import GroundTruth

logger = logging.getLogger(__name__)

_FIXES = {
    "keypoint-count": "write x, y, score for every keypoint of the annotations' category",
    "bad-keypoints": "write x, y, score for every keypoint of the annotations' category",
    "not-finite": "write finite numbers, or leave the result out: compared with NaN, everything would match",
    "duplicate-key": "keep one of the two",
    "unknown-image": "leave the result out, or name the annotations that it belongs to",
    "bad-box": "write x, y, width, height, not two corners",
    "bad-id": "write the ids that the annotations have",
}
"""What to do about a result."""


def read_keypoint_results(path: str | Path, truth: GroundTruth) -> list[dict[str, Any]]:
    """The keypoint results of a file for the category of `truth`, as they stand there, in file order.

    Each has a known `image_id`, the `category_id`, `keypoints` (x, y, score of each, finite; image pixels) and a
    finite `score`. An empty list is a result (and scores 0). Raises `UserError`: "missing-file", or "bad-prediction"
    that lists every problem.
    """
    count = truth.skeleton.num_keypoints
    findings = Findings(str(path), _FIXES)
    results, others = [], 0
    known = set(truth.image_ids)
    for fields in _results(Path(path), findings):
        if not _is_of(fields, truth.category_id):
            others += 1
            continue
        _check_image(fields, known)
        fields.numbers("bad-keypoints", "keypoints", 3 * count, f"x, y, score of {count} keypoints")
        fields.number("bad-score", "score", "a finite number", low=-LARGEST)
        results.append(dict(fields.values))
    findings.raise_blocking("bad-prediction")
    _say(findings, len(results), {"of another category": others})
    return results


def read_boxes(path: str | Path, image_ids: Collection[int], category_id: int) -> list[dict[str, Any]]:
    """The detected boxes of a file for a category: `image_id`, `category_id`, `bbox` and `score`, in file order.

    `bbox` is x, y, width, height in image pixels. Boxes on other images than `image_ids` are left out and counted,
    as a detector's file often covers more than is looked at; so are those of other categories. Raises `UserError`:
    "missing-file", or "bad-prediction" that lists every problem.
    """
    findings = Findings(str(path), _FIXES)
    boxes = []
    left_out: Counter[str] = Counter()
    known, unknown = set(image_ids), None
    for fields in _results(Path(path), findings):
        if not _is_of(fields, category_id):
            left_out["of another category"] += 1
            continue
        box = _detection(fields)
        if box is not None and box["image_id"] not in known:
            left_out["on other images"] += 1
            unknown = unknown or fields
        elif box is not None:
            boxes.append(box)
    if unknown is not None and not boxes:
        _check_image(unknown, known)
    findings.raise_blocking("bad-prediction")
    _say(findings, len(boxes), left_out)
    return boxes


def _detection(fields: Fields) -> dict[str, Any] | None:
    box = fields.numbers("bad-box", "bbox", 4, "x, y, width, height")
    if box is not None and (box[2:].min() < 0 or box[2:].max() == 0):
        fields.bad("bad-box", "bbox", shown(fields.get("bbox")), "a width and a height above 0")
        box = None
    score = fields.number("bad-score", "score", "a finite number", low=-LARGEST)
    good = check_id(fields.findings, fields.place, "image_id", fields.get("image_id"))
    if box is None or score is None or not good:
        return None
    ids = {key: fields.get(key) for key in ("image_id", "category_id")}
    return {**ids, "bbox": box.tolist(), "score": score}


def _results(path: Path, findings: Findings) -> Iterator[Fields]:
    """The entries of a list of results that are objects; what else stands there is told."""
    encoding = check_bytes(path, findings)
    if not encoding:
        return
    try:
        entries = read_entries(path, encoding)
        if next(entries, None) != Opening(""):  # an empty object has no entries at all
            fix = "name a file of results; one with annotations is what they are measured against"
            raise JsonError("no-results", "", "no list", fix)
        for entry in entries:
            assert isinstance(entry, Entry), "a list holds no others"
            check_hope(findings, entry)
            place = _place(entry)
            tell_constants(findings, entry, place)
            if isinstance(entry.value, dict):
                yield Fields(findings, place, entry.value, bool(entry.constants))
            else:
                findings.add("bad-entry", place, shown(entry.value), "an object")
    except JsonError as error:
        tell_json_error(findings, error)


def _place(entry: Entry) -> Place:
    if not isinstance(entry.value, dict):
        return Place(entry.pointer)
    return Place(entry.pointer, as_id(entry.value.get("annotation_id")), as_id(entry.value.get("image_id")))


def _is_of(fields: Fields, category_id: int) -> bool:
    """Whether a result is of the category; one that does not say so is told, and counts as of it."""
    value = fields.get("category_id")
    return not check_id(fields.findings, fields.place, "category_id", value) or value == category_id


def _check_image(fields: Fields, known: set[int]) -> None:
    value = fields.get("image_id")
    if check_id(fields.findings, fields.place, "image_id", value) and value not in known:
        fields.bad("unknown-image", "image_id", shown(value), "the id of an image of the annotations")


def _say(findings: Findings, count: int, left_out: dict[str, int]) -> None:
    told = ", ".join(f"{number:,} {what}" for what, number in left_out.items() if number)
    if told:
        logger.warning("%s: left out: %s", findings.file, told)
    if count == 0:
        logger.warning("%s: no results are left: nothing was found", findings.file)
