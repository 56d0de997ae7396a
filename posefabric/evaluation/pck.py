"""PCK and PCKh: the percentage of labelled keypoints predicted within a fraction of a length of the person's body.

Shared by both: a keypoint is right when its distance, divided by the person's length, is `<=` the threshold. A person
whose length is unknown or 0 is left out and counted. -1 stands where nothing is labelled (as COCO does).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from posefabric.data.records import PersonRecord
from posefabric.errors import UserError
from posefabric.evaluation.predictions import require_finite
from posefabric.skeletons import Skeleton

TORSO = ("left_shoulder", "right_hip")
NECKS = ("neck", "upper_neck")
NOT_IN_PCKH_MEAN = ("pelvis", "thorax")
PCKH_GROUPS = {
    "Head": ("head_top",),
    **{name.capitalize(): (f"left_{name}", f"right_{name}") for name in ("shoulder", "elbow", "wrist")},
    **{name.capitalize(): (f"left_{name}", f"right_{name}") for name in ("hip", "knee", "ankle")},
}
"""Rows of the published MPII tables; the head is the head top alone, as in HRNet's evaluation."""


def pck(
    records: Sequence[PersonRecord], keypoints_xy: Float[np.ndarray, "N K 2"], skeleton: Skeleton
) -> dict[str, float]:
    """PCK at 0.2 and 0.1 of the torso (left shoulder to right hip), 0 to 100, of predictions in the records' order.

    `PCK@0.2` and `PCK@0.1` are over all labelled keypoints of all persons together; each keypoint's name is the key
    of its own PCK@0.2. A skeleton without those two keypoints is measured by the longer side of the box, and the keys
    say so: `PCK@0.2/box`. `persons` and `persons_left_out` count. Raises `UserError("bad-prediction")` on predictions
    that do not fit the records or are not finite, `UserError("missing-keypoints")` if no person can be measured.
    """
    has_torso = all(name in skeleton.keypoints for name in TORSO)
    lengths_px = _distances_px(records, skeleton, *TORSO) if has_torso else _longer_sides_px(records)
    errors = _errors(records, keypoints_xy, lengths_px)
    suffix = "" if has_torso else "/box"
    everything = range(skeleton.num_keypoints)
    result = {f"PCK@{at}{suffix}": errors.pooled(at, everything) for at in (0.2, 0.1)}
    result |= dict(zip(skeleton.keypoints, errors.per_keypoint(0.2), strict=True))
    return result | errors.counts()


def pckh(
    records: Sequence[PersonRecord], keypoints_xy: Float[np.ndarray, "N K 2"], skeleton: Skeleton
) -> dict[str, float]:
    """PCKh, 0 to 100, of predictions in the records' order.

    The length is the records' `head_size`; if none has one, neck (or upper neck) to head top. `PCKh@0.5` and
    `PCKh@0.1` are over all labelled keypoints together but pelvis and thorax, as HRNet prints them;
    `PCKh@0.5_unweighted` is the mean of the same keypoints' own percentages, as the published tables have it;
    `PCKh@0.11` is the threshold that HRNet's evaluation and its heirs print as "0.1". The groups (`PCKH_GROUPS`, at
    0.5) are the mean of left and right. `persons` and `persons_left_out` count. Raises
    `UserError("missing-keypoints")` if there is no head to measure by, and `UserError("bad-prediction")` as `pck`.
    """
    errors = _errors(records, keypoints_xy, _head_sizes_px(records, skeleton))
    counted = [i for i, name in enumerate(skeleton.keypoints) if name not in NOT_IN_PCKH_MEAN]
    result = {f"PCKh@{at}": errors.pooled(at, counted) for at in (0.5, 0.1, 0.11)}
    half = dict(zip(skeleton.keypoints, errors.per_keypoint(0.5), strict=True))
    result["PCKh@0.5_unweighted"] = _mean(half[skeleton.keypoints[i]] for i in counted)
    result |= {
        group: _mean(half[name] for name in names if name in half) for group, names in PCKH_GROUPS.items()
    }
    return result | errors.counts()


@dataclass(frozen=True)
class _Errors:
    """Distances of predictions to labels as fractions of each person's length, of the persons that have one."""

    fractions: Float[np.ndarray, "N K"]
    labelled: Bool[np.ndarray, "N K"]
    left_out: int

    def pooled(self, threshold: float, keypoints: Sequence[int]) -> float:
        """Percentage over the labelled ones of these keypoints together."""
        labelled = self.labelled[:, keypoints]
        return _percentage(labelled & (self.fractions[:, keypoints] <= threshold), labelled)

    def per_keypoint(self, threshold: float) -> list[float]:
        return [self.pooled(threshold, [i]) for i in range(self.labelled.shape[1])]

    def counts(self) -> dict[str, float]:
        return {"persons": len(self.labelled), "persons_left_out": self.left_out}


def _errors(
    records: Sequence[PersonRecord],
    keypoints_xy: Float[np.ndarray, "N K 2"],
    lengths_px: Float[np.ndarray, " N"],
) -> _Errors:
    labelled, truth_xy = _labels(records)
    if keypoints_xy.shape != truth_xy.shape:
        raise UserError("bad-prediction", f"keypoints_xy has shape {keypoints_xy.shape}", f"{truth_xy.shape}")
    require_finite("keypoints_xy", keypoints_xy)
    measured = lengths_px > 0
    if not measured.any():
        raise UserError("missing-keypoints", f"none of the {len(records)} persons has a length to measure by")
    distances_px = np.linalg.norm(keypoints_xy - truth_xy, axis=2)[measured]
    return _Errors(
        fractions=distances_px / lengths_px[measured, None],
        labelled=labelled[measured],
        left_out=int((~measured).sum()),
    )


def _labels(
    records: Sequence[PersonRecord],
) -> tuple[Bool[np.ndarray, "N K"], Float[np.ndarray, "N K 2"]]:
    labelled = np.array([record.visibility > 0 for record in records])
    return labelled, np.array([record.keypoints_xy for record in records])


def _distances_px(
    records: Sequence[PersonRecord], skeleton: Skeleton, first: str, second: str
) -> Float[np.ndarray, " N"]:
    """Length between two keypoints of each person; NaN unless both are labelled."""
    labelled, truth_xy = _labels(records)
    i, j = skeleton.index(first), skeleton.index(second)
    distances_px = np.linalg.norm(truth_xy[:, i] - truth_xy[:, j], axis=1)
    return np.where(labelled[:, i] & labelled[:, j], distances_px, np.nan)


def _longer_sides_px(records: Sequence[PersonRecord]) -> Float[np.ndarray, " N"]:
    boxes_xyxy = np.array([record.bbox_xyxy for record in records])
    return np.asarray((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1))


def _head_sizes_px(records: Sequence[PersonRecord], skeleton: Skeleton) -> Float[np.ndarray, " N"]:
    if any(record.head_size is not None for record in records):
        return np.array([np.nan if record.head_size is None else record.head_size for record in records])
    neck = next((name for name in NECKS if name in skeleton.keypoints), None)
    missing = [" or ".join(NECKS)] if neck is None else []
    missing += ["head_top"] if "head_top" not in skeleton.keypoints else []
    if neck is None or missing:
        raise UserError(
            "missing-keypoints",
            f"PCKh needs a head size: no record has one, and skeleton {skeleton.name} lacks {', '.join(missing)}",
            "records with head_size, or a skeleton with neck or upper_neck and head_top",
        )
    return _distances_px(records, skeleton, neck, "head_top")


def _percentage(right: Bool[np.ndarray, "..."], labelled: Bool[np.ndarray, "..."]) -> float:
    return float(100 * right.sum() / labelled.sum()) if labelled.any() else -1.0


def _mean(percentages: Iterable[float]) -> float:
    """Mean of those that have one; -1 stands for none."""
    known = [percentage for percentage in percentages if percentage >= 0]
    return float(np.mean(known)) if known else -1.0
