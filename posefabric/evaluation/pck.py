"""PCK and PCKh: the percentage of labelled keypoints predicted within a fraction of a length of the body.

Shared by both: a keypoint is right when its distance, divided by its person's length, is `<=` the threshold.
A person whose length is unknown or 0 is left out and counted. -1 stands where nothing is labelled, as COCO
has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from posefabric.data.records import PersonRecord
from posefabric.errors import UserError
from posefabric.evaluation.predictions import distances_px
from posefabric.skeletons import Skeleton

TORSO = ("left_shoulder", "right_hip")
NECKS = ("neck", "upper_neck")
NOT_IN_PCKH_MEAN = ("pelvis", "thorax")
PCKH_GROUPS = {"Head": ("head_top",)} | {
    name.capitalize(): (f"left_{name}", f"right_{name}")
    for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
}
"""Columns of the published MPII tables; the head is the head top alone, as in HRNet's evaluation."""


def pck(
    records: Sequence[PersonRecord], keypoints_xy: Float[np.ndarray, "N K 2"], skeleton: Skeleton
) -> dict[str, float]:
    """PCK by the torso (left shoulder to right hip), 0 to 100, of predictions in the records' order.

    `PCK@0.2` and `PCK@0.1` are over all labelled keypoints of all measured persons together; each keypoint's
    name is the key of its own PCK at 0.2. A skeleton without those two keypoints is measured by the longer
    side of the box, and the keys say so: `PCK@0.2/box`. `persons` (measured) and `persons_left_out` count.
    Raises `UserError("bad-prediction")` as `distances_px`, `UserError("missing-keypoints")` if no person can
    be measured.
    """
    suffix, fractions = _pck_fractions(records, keypoints_xy, skeleton)
    return {
        f"PCK@0.2{suffix}": _percentage(fractions, 0.2),
        f"PCK@0.1{suffix}": _percentage(fractions, 0.1),
        **_per_keypoint(fractions, 0.2, skeleton),
        **_counts(fractions, records),
    }


def pckh(
    records: Sequence[PersonRecord], keypoints_xy: Float[np.ndarray, "N K 2"], skeleton: Skeleton
) -> dict[str, float]:
    """PCKh, 0 to 100, of predictions in the records' order.

    The length is the records' `head_size`; if none has one, neck (or upper neck) to head top. `PCKh@0.5` and
    `PCKh@0.1` are over all labelled keypoints together but pelvis and thorax, as HRNet prints them;
    `PCKh@0.5_unweighted` is the mean of the same keypoints' own percentages, as the published tables have
    it; `PCKh@0.11` is what HRNet's evaluation and its heirs print as "0.1". The groups (`PCKH_GROUPS`, at
    0.5) are the mean of left and right. `persons` (measured) and `persons_left_out` count. Raises
    `UserError("missing-keypoints")` if there is no head to measure by, `UserError("bad-prediction")` as
    `distances_px`.
    """
    fractions = _fractions(records, keypoints_xy, _head_sizes_px(records, skeleton))
    counted = _in_pckh_mean(skeleton)
    in_mean = fractions[:, [skeleton.index(name) for name in counted]]
    per_keypoint = _per_keypoint(fractions, 0.5, skeleton)
    return {
        "PCKh@0.5": _percentage(in_mean, 0.5),
        "PCKh@0.1": _percentage(in_mean, 0.1),
        "PCKh@0.5_unweighted": _mean(per_keypoint, counted),
        "PCKh@0.11": _percentage(in_mean, 0.11),
        **{group: _mean(per_keypoint, names) for group, names in PCKH_GROUPS.items()},
        **_counts(fractions, records),
    }


def pck_curve(
    records: Sequence[PersonRecord],
    keypoints_xy: Float[np.ndarray, "N K 2"],
    skeleton: Skeleton,
    thresholds: Sequence[float],
) -> tuple[str, list[float]]:
    """`"PCK"` (or `"PCK/box"`) and its value at each threshold, over all labelled keypoints; otherwise as `pck`."""
    suffix, fractions = _pck_fractions(records, keypoints_xy, skeleton)
    return f"PCK{suffix}", [_percentage(fractions, threshold) for threshold in thresholds]


def pckh_curve(
    records: Sequence[PersonRecord],
    keypoints_xy: Float[np.ndarray, "N K 2"],
    skeleton: Skeleton,
    thresholds: Sequence[float],
) -> tuple[str, list[float]]:
    """`"PCKh"` and its value at each threshold, over the keypoints that `PCKh@0.5` counts; otherwise as `pckh`."""
    fractions = _fractions(records, keypoints_xy, _head_sizes_px(records, skeleton))
    in_mean = fractions[:, [skeleton.index(name) for name in _in_pckh_mean(skeleton)]]
    return "PCKh", [_percentage(in_mean, threshold) for threshold in thresholds]


def fractions_by_person(
    records: Sequence[PersonRecord], keypoints_xy: Float[np.ndarray, "N K 2"], skeleton: Skeleton, metric: str
) -> Float[np.ndarray, "N K"]:
    """What `pck` and `pckh` compare with their thresholds: distance over length of every keypoint of every person.

    `metric` is `"PCK"`, `"PCK/box"` or `"PCKh"`. NaN where a person has no length, where nothing is labelled, and for
    keypoints outside PCKh's mean.
    """
    if metric == "PCKh":
        lengths_px = _head_sizes_px(records, skeleton)
    else:
        lengths_px = _lengths_px(records, skeleton, *TORSO) if metric == "PCK" else _longer_sides_px(records)
    fractions = _over_lengths(records, keypoints_xy, lengths_px)
    if metric == "PCKh":
        fractions[:, [skeleton.index(n) for n in NOT_IN_PCKH_MEAN if n in skeleton.keypoints]] = np.nan
    return fractions


def _pck_fractions(
    records: Sequence[PersonRecord], keypoints_xy: Float[np.ndarray, "N K 2"], skeleton: Skeleton
) -> tuple[str, Float[np.ndarray, "M K"]]:
    """What the keys end in, and the fractions of the torso or else of the box."""
    if all(name in skeleton.keypoints for name in TORSO):
        return "", _fractions(records, keypoints_xy, _lengths_px(records, skeleton, *TORSO))
    return "/box", _fractions(records, keypoints_xy, _longer_sides_px(records))


def _in_pckh_mean(skeleton: Skeleton) -> list[str]:
    return [name for name in skeleton.keypoints if name not in NOT_IN_PCKH_MEAN]


def _fractions(
    records: Sequence[PersonRecord],
    keypoints_xy: Float[np.ndarray, "N K 2"],
    lengths_px: Float[np.ndarray, " N"],
) -> Float[np.ndarray, "M K"]:
    """Distances over lengths of the persons that have a length; NaN where nothing is labelled."""
    measured = lengths_px > 0
    if not measured.any():
        raise UserError("missing-keypoints", f"none of {len(records)} persons has a length to measure by")
    return _over_lengths(records, keypoints_xy, lengths_px)[measured]


def _over_lengths(
    records: Sequence[PersonRecord], keypoints_xy: Float[np.ndarray, "N K 2"], lengths_px: Float[np.ndarray, " N"]
) -> Float[np.ndarray, "N K"]:
    """Distances over lengths; NaN in the row of a person without a length, and where nothing is labelled."""
    lengths = np.where(lengths_px > 0, lengths_px, np.nan)
    return np.asarray(distances_px(keypoints_xy, records) / lengths[:, None])


def _percentage(fractions: Float[np.ndarray, "M K"], threshold: float) -> float:
    labelled = (~np.isnan(fractions)).sum()
    return float(100 * (fractions <= threshold).sum() / labelled) if labelled else -1.0


def _per_keypoint(fractions: Float[np.ndarray, "M K"], threshold: float, skeleton: Skeleton) -> dict[str, float]:
    return {name: _percentage(fractions[:, [i]], threshold) for i, name in enumerate(skeleton.keypoints)}


def _mean(per_keypoint: dict[str, float], names: Iterable[str]) -> float:
    """Mean over those of these keypoints that the skeleton has and that are labelled somewhere."""
    known = [per_keypoint[name] for name in names if per_keypoint.get(name, -1) >= 0]
    return float(np.mean(known)) if known else -1.0


def _counts(fractions: Float[np.ndarray, "M K"], records: Sequence[PersonRecord]) -> dict[str, float]:
    return {"persons": len(fractions), "persons_left_out": len(records) - len(fractions)}


def _lengths_px(
    records: Sequence[PersonRecord], skeleton: Skeleton, first: str, second: str
) -> Float[np.ndarray, " N"]:
    """Length between two keypoints of each person; NaN unless both are labelled."""
    ends = [skeleton.index(first), skeleton.index(second)]
    return np.array(
        [
            np.linalg.norm(np.subtract(*record.keypoints_xy[ends])) if (record.visibility[ends] > 0).all() else np.nan
            for record in records
        ]
    )


def _longer_sides_px(records: Sequence[PersonRecord]) -> Float[np.ndarray, " N"]:
    return np.array([(record.bbox_xyxy[2:] - record.bbox_xyxy[:2]).max() for record in records])


def _head_sizes_px(records: Sequence[PersonRecord], skeleton: Skeleton) -> Float[np.ndarray, " N"]:
    if any(record.head_size is not None for record in records):
        return np.array([np.nan if record.head_size is None else record.head_size for record in records])
    necks = [name for name in NECKS if name in skeleton.keypoints]
    lacking = [" or ".join(NECKS)] * (not necks) + ["head_top"] * ("head_top" not in skeleton.keypoints)
    if lacking:
        raise UserError(
            "missing-keypoints",
            f"no person has a head size, and skeleton {skeleton.name} lacks {' and '.join(lacking)}",
            "records with head_size, or a skeleton with neck or upper_neck and head_top",
        )
    return _lengths_px(records, skeleton, necks[0], "head_top")
