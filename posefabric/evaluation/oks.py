"""Object keypoint similarity (OKS), and COCO's average precision and recall over it.

The numbers are pycocotools' to 1e-12 (computed by faster-coco-eval), with four of its surprises taken out:

- annotation id 0 counts as a miss there, and of two equal ids one is lost: ids are given anew here
- a result that is not a number matches everything there: it is refused here
- `num_keypoints` is believed there, and a person with 0 is ignored: it is counted here (visibility above 0)
- an empty result list fails there: it scores 0 here

and with these kept: -1 where no person is in an area range, at most 20 results per image, persons without a labelled
keypoint and crowds neither reward nor punish, small persons (area below 32^2) count in AP but in neither APM nor APL.
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
from posefabric.evaluation.predictions import require_finite
from posefabric.skeletons import Skeleton

OKS_KEYS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
"""The keys of `oks_metrics`, in the order of COCO's `stats`."""


def oks_metrics(
    records: Sequence[PersonRecord],
    results: Sequence[Mapping[str, Any]],
    skeleton: Skeleton,
    image_ids: Iterable[int] = (),
) -> dict[str, float]:
    """COCO's keypoint metrics of results (`to_coco_results`, category 1) against records; keys `OKS_KEYS`, 0 to 1.

    All images of the records take part, with results or without. `image_ids` adds images without an annotated
    person, where every result is a false positive. -1 stands where no record is in an area range. Raises as
    `coco_metrics`.
    """
    images = {record.image_id for record in records}.union(image_ids)
    ground_truth = {
        "images": [{"id": image_id} for image_id in sorted(images)],
        "categories": [{"id": 1}],
        "annotations": [_annotation(record) for record in records],
    }
    return coco_metrics(ground_truth, results, skeleton.sigmas)


def coco_metrics(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> dict[str, float]:
    """COCO's keypoint metrics of a result list against an annotation file's content; keys `OKS_KEYS`, 0 to 1.

    `sigmas` are the OKS constants, one a keypoint. Neither argument is changed. Raises
    `UserError("bad-annotation")` or `UserError("bad-prediction")` naming the entry: fields that are missing, not
    finite or of a wrong length, and images the ground truth does not list.
    """
    for section in ("images", "annotations", "categories"):
        if section not in ground_truth:
            raise UserError("bad-annotation", f"the annotations have no '{section}'", "COCO keypoint JSON")
    images = _ids(ground_truth, "images")
    truth = COCO(
        {
            "images": [{"id": image_id} for image_id in images],
            "categories": [{"id": category_id} for category_id in _ids(ground_truth, "categories")],
            "annotations": _annotations(ground_truth["annotations"], set(images), len(sigmas)),
        }
    )
    if not truth.anns:
        return dict.fromkeys(OKS_KEYS, -1.0)
    detections = truth.loadRes(_detections(results, set(images), len(sigmas)))
    evaluator = COCOeval_faster(truth, detections, iouType="keypoints", kpt_oks_sigmas=list(sigmas))
    evaluator.run()
    return {key: float(value) for key, value in zip(OKS_KEYS, evaluator.stats, strict=True)}


def oks(
    keypoints_xy: Float[np.ndarray, "N K 2"], records: Sequence[PersonRecord], sigmas: Sequence[float]
) -> Float[np.ndarray, " N"]:
    """OKS of each prediction with the record of the same place, 0 to 1; NaN for a record without labelled keypoints."""
    require_finite("keypoints_xy", keypoints_xy)
    labelled = np.array([record.visibility > 0 for record in records])
    truth_xy = np.array([record.keypoints_xy for record in records])
    area = np.array([record.area for record in records])[:, None] + np.spacing(1)
    squared_px = ((keypoints_xy - truth_xy) ** 2).sum(axis=2)
    similarity = np.exp(-squared_px / (2 * area * (2 * np.asarray(sigmas)) ** 2))
    counts = labelled.sum(axis=1)
    total = np.where(labelled, similarity, 0).sum(axis=1)
    return np.divide(total, counts, out=np.full(len(records), np.nan), where=counts > 0)


def _annotation(record: PersonRecord) -> dict[str, Any]:
    x1, y1, x2, y2 = record.bbox_xyxy.tolist()
    keypoints = np.column_stack([record.keypoints_xy, record.visibility])
    return {
        "image_id": record.image_id,
        "category_id": 1,
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
            values = np.asarray(self.get(key), dtype=np.float64).ravel()
        except (TypeError, ValueError):
            values = np.empty(0)
        if len(values) != count or not np.isfinite(values).all():
            raise self.error(f".{key} is {self.get(key)!r}", f"{count} finite number{'s'[: count > 1]}")
        return list(values.tolist())

    def id(self, key: str = "id", known: set[int] | None = None) -> int:
        value = self.get(key)
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise self.error(f".{key} is {value!r}", "an integer")
        if known is not None and value not in known:
            raise self.error(f".{key} {value} is not in 'images'", "an image of the annotation file")
        return int(value)

    def get(self, key: str) -> Any:
        if key not in self.fields:
            raise self.error(f" has no '{key}'", "COCO keypoint JSON")
        return self.fields[key]

    def error(self, found: str, allowed: str) -> UserError:
        return UserError(self.code, self.name + found, allowed)


def _ids(ground_truth: Mapping[str, Any], section: str) -> list[int]:
    return [
        _Entry(fields, f"{section}[{i}]", "bad-annotation").id()
        for i, fields in enumerate(ground_truth[section])
    ]


def _annotations(
    annotations: Sequence[Mapping[str, Any]], images: set[int], num_keypoints: int
) -> list[dict[str, Any]]:
    checked = []
    for i, fields in enumerate(annotations):
        entry = _Entry(fields, f"annotations[{i}]", "bad-annotation")
        keypoints = entry.numbers("keypoints", 3 * num_keypoints)
        checked.append(
            {
                "id": i + 1,
                "image_id": entry.id("image_id", images),
                "category_id": entry.id("category_id"),
                "bbox": entry.numbers("bbox", 4),
                "area": entry.number("area"),
                "iscrowd": int(fields.get("iscrowd", 0)),
                "keypoints": keypoints,
                "num_keypoints": sum(visibility > 0 for visibility in keypoints[2::3]),
            }
        )
    return checked


def _detections(
    results: Sequence[Mapping[str, Any]], images: set[int], num_keypoints: int
) -> list[dict[str, Any]]:
    """The results as COCO reads them; their boxes, where all have one, decide on area ranges as COCO has it."""
    with_boxes = all("bbox" in fields for fields in results)
    checked = []
    for i, fields in enumerate(results):
        entry = _Entry(fields, f"results[{i}]", "bad-prediction")
        detection: dict[str, Any] = {
            "image_id": entry.id("image_id", images),
            "category_id": entry.id("category_id"),
            "keypoints": entry.numbers("keypoints", 3 * num_keypoints),
            "score": entry.number("score"),
        }
        if with_boxes:
            detection["bbox"] = entry.numbers("bbox", 4)
        checked.append(detection)
    return checked
