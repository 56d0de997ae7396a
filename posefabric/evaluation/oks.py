"""Object keypoint similarity (OKS), and COCO's average precision and recall over it.

The numbers are pycocotools' to 1e-12 (computed by faster-coco-eval), with four of its surprises taken out:

- annotation id 0 counts as a miss there, and of two equal ids one is lost: ids are given anew here
- a result that is not a number matches everything there: it is refused here
- `num_keypoints` is believed there, and a person with 0 is ignored: it is counted here (visibility above 0)
- an empty result list fails there: it scores 0 here

and with these kept: -1 where no person is in an area range, at most 20 results per image, crowds and persons
without a labelled keypoint neither reward nor punish, persons below 32^2 in area count in AP but in neither
APM nor APL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval.core.faster_eval_api import COCOeval_faster
from jaxtyping import Float

from posefabric.data.records import PersonRecord
from posefabric.errors import UserError
from posefabric.evaluation.predictions import distances_px
from posefabric.skeletons import Skeleton

OKS_KEYS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
"""The keys of `oks_metrics`, in the order of COCO's `stats`."""

OKS_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""The OKS values that COCO's AP is the mean over."""


def oks_metrics(
    records: Sequence[PersonRecord],
    results: Sequence[Mapping[str, Any]],
    skeleton: Skeleton,
    image_ids: Iterable[int] = (),
    category_id: int = 1,
) -> dict[str, float]:
    """COCO's keypoint metrics of results (`to_coco_results`) against records; keys `OKS_KEYS`, 0 to 1.

    All images of the records take part, with results or without. `image_ids` adds images without an
    annotated person, where every result is a false positive. Results carry `category_id`. -1 stands where no
    record is in an area range. Raises as `coco_metrics`.
    """
    return coco_metrics(coco_annotations(records, image_ids, category_id), results, skeleton.sigmas)


def coco_annotations(
    records: Sequence[PersonRecord], image_ids: Iterable[int] = (), category_id: int = 1
) -> dict[str, Any]:
    """Records as the content of a COCO annotation file, all that `coco_metrics` needs; images as in `oks_metrics`."""
    images = {record.image_id for record in records}.union(image_ids)
    return {
        "images": [{"id": image_id} for image_id in sorted(images)],
        "categories": [{"id": category_id}],
        "annotations": [_annotation(record) | {"category_id": category_id} for record in records],
    }


def coco_metrics(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> dict[str, float]:
    """COCO's keypoint metrics of a result list against an annotation file's content; keys `OKS_KEYS`, 0 to 1.

    `sigmas` are the OKS constants, one a keypoint. -1 stands where no person is in an area range. Neither
    argument is changed. Raises `UserError("bad-annotation")` or `UserError("bad-prediction")` naming the
    entry: fields that are missing, not finite or of a wrong length, and images the ground truth does not
    list.
    """
    evaluator = _evaluated(ground_truth, results, sigmas)
    if evaluator is None:
        return dict.fromkeys(OKS_KEYS, -1.0)
    return {key: float(value) for key, value in zip(OKS_KEYS, evaluator.stats, strict=True)}


def coco_precision(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> Float[np.ndarray, "thresholds recalls"]:
    """COCO's interpolated precision at `OKS_THRESHOLDS` and the recalls 0, 0.01, ..., 1; their mean is AP.

    -1 everywhere where no person is labelled. Arguments and errors are those of `coco_metrics`.
    """
    evaluator = _evaluated(ground_truth, results, sigmas)
    if evaluator is None:
        return np.full((len(OKS_THRESHOLDS), 101), -1.0)
    return np.asarray(evaluator.eval["precision"], dtype=np.float64)[:, :, 0, 0, -1]


def _evaluated(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> COCOeval_faster | None:
    """The evaluator after its work; None where nobody is annotated."""
    for section in ("images", "annotations", "categories"):
        if section not in ground_truth:
            raise UserError("bad-annotation", f"the annotations have no '{section}'", "COCO keypoint JSON")
    ids = {section: _ids(ground_truth, section) for section in ("images", "categories")}
    persons = [
        _person(entry, number, ids, len(sigmas))
        for number, entry in enumerate(_entries(ground_truth, "annotations"), start=1)
    ]
    detections = _detections(results, ids, len(sigmas))
    if not persons:
        return None
    sections = {section: [{"id": i} for i in sorted(ids[section])] for section in ids}
    truth = COCO({**sections, "annotations": persons})
    evaluator = COCOeval_faster(truth, truth.loadRes(detections), iouType="keypoints", kpt_oks_sigmas=list(sigmas))
    evaluator.run()
    return evaluator


def oks(
    keypoints_xy: Float[np.ndarray, "N K 2"], records: Sequence[PersonRecord], sigmas: Sequence[float]
) -> Float[np.ndarray, " N"]:
    """OKS of each prediction with the record at the same place, 0 to 1; NaN where nothing is labelled.

    Raises `UserError("bad-prediction")` as `distances_px`.
    """
    values = keypoint_similarity(keypoints_xy, records, sigmas)
    labelled = (~np.isnan(values)).sum(axis=1)
    return np.asarray(np.nansum(values, axis=1) / np.where(labelled > 0, labelled, np.nan))


def keypoint_similarity(
    keypoints_xy: Float[np.ndarray, "N K 2"], records: Sequence[PersonRecord], sigmas: Sequence[float]
) -> Float[np.ndarray, "N K"]:
    """Each keypoint's own similarity with its label, 0 to 1, whose mean OKS is; NaN where it is not labelled.

    Raises `UserError("bad-prediction")` as `distances_px`.
    """
    areas = np.array([record.area for record in records])
    return similarity(distances_px(keypoints_xy, records) ** 2, areas, sigmas)


def similarity(
    squared_px: Float[np.ndarray, "*N K"], areas: Float[np.ndarray, "*N"], sigmas: Sequence[float]
) -> Float[np.ndarray, "*N K"]:
    """exp(-d^2 / (2 s^2 k^2)) with s^2 the person's area and k twice the keypoint's sigma, as COCO has it."""
    variances = (2 * np.asarray(sigmas)) ** 2
    return np.asarray(np.exp(-squared_px / (2 * (areas[..., None] + np.spacing(1)) * variances)))


def _annotation(record: PersonRecord) -> dict[str, Any]:
    x1, y1, x2, y2 = record.bbox_xyxy.tolist()
    keypoints = np.column_stack([record.keypoints_xy, record.visibility])
    return {
        "image_id": record.image_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": record.area,
        "iscrowd": record.iscrowd,
        "keypoints": keypoints.ravel().tolist(),
    }


@dataclass(frozen=True)
class _Entry:
    """One object of a COCO file, read with errors that name it."""

    fields: Mapping[str, Any]
    name: str
    code: str

    def number(self, key: str) -> float:
        return self.numbers(key, 1)[0]

    def numbers(self, key: str, count: int) -> list[float]:
        try:
            values = np.asarray(self._get(key)).ravel()
        except ValueError:  # lists of different lengths
            values = np.empty(0)
        finite = np.isfinite(values).sum() if values.dtype.kind in "iuf" else 0
        if len(values) != count or finite != count:
            raise self._error(f".{key} has {len(values)} values, {finite} finite numbers", f"{count} of them")
        return [float(value) for value in values]

    def id(self, key: str) -> int:
        value = self._get(key)
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise self._error(f".{key} is {value!r}", "an integer")
        return int(value)

    def reference(self, key: str, ids: set[int]) -> int:
        value = self.id(key)
        if value not in ids:
            raise self._error(f".{key} is {value}", "an id that the annotation file lists")
        return value

    def flag(self, key: str) -> int:
        value = self.fields.get(key, 0)
        if value not in (0, 1):
            raise self._error(f".{key} is {value!r}", "0 or 1")
        return int(value)

    def _error(self, found: str, allowed: str) -> UserError:
        return UserError(self.code, self.name + found, allowed)

    def _get(self, key: str) -> Any:
        if not isinstance(self.fields, Mapping) or key not in self.fields:
            raise self._error(f" has no '{key}'", "COCO keypoint JSON")
        return self.fields[key]


def _entries(ground_truth: Mapping[str, Any], section: str) -> list[_Entry]:
    return [_Entry(fields, f"{section}[{i}]", "bad-annotation") for i, fields in enumerate(ground_truth[section])]


def _ids(ground_truth: Mapping[str, Any], section: str) -> set[int]:
    return {entry.id("id") for entry in _entries(ground_truth, section)}


def _person(entry: _Entry, number: int, ids: Mapping[str, set[int]], num_keypoints: int) -> dict[str, Any]:
    pose = _pose(entry, ids, num_keypoints)
    return {
        **pose,
        "id": number,
        "bbox": entry.numbers("bbox", 4),
        "area": entry.number("area"),
        "iscrowd": entry.flag("iscrowd"),
        "num_keypoints": sum(visibility > 0 for visibility in pose["keypoints"][2::3]),
    }


def _detections(
    results: Sequence[Mapping[str, Any]], ids: Mapping[str, set[int]], num_keypoints: int
) -> list[dict[str, Any]]:
    entries = [_Entry(fields, f"results[{i}]", "bad-prediction") for i, fields in enumerate(results)]
    detections = [{**_pose(entry, ids, num_keypoints), "score": entry.number("score")} for entry in entries]
    if all("bbox" in fields for fields in results):  # COCO takes a result's area from its box, if it has one
        for detection, entry in zip(detections, entries, strict=True):
            detection["bbox"] = entry.numbers("bbox", 4)
    return detections


def _pose(entry: _Entry, ids: Mapping[str, set[int]], num_keypoints: int) -> dict[str, Any]:
    return {
        "image_id": entry.reference("image_id", ids["images"]),
        "category_id": entry.reference("category_id", ids["categories"]),
        "keypoints": entry.numbers("keypoints", 3 * num_keypoints),
    }
