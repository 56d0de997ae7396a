"""MPII's files of ground truth and predictions (stage 10 of the walk), as exchanged in the field.

MPII counts pixels from 1; that ends here: records and arrays are 0-based, files are 1-based.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from posefabric.data.records import MPII_HEAD_SHARE, PersonRecord
from posefabric.errors import UserError
from posefabric.matlab import numeric, read_mat, to_mat
from posefabric.runs import write_atomic
from posefabric.skeletons import MPII16

_SHORT_NAMES = (
    "rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head", "rwri", "relb", "rsho", "lsho",
    "lelb", "lwri",
)  # fmt: skip
"""What `dataset_joints` calls the keypoints of `MPII16`, in their order."""


def read_mpii_truth(path: str | Path) -> list[PersonRecord]:
    """The persons of a ground truth file such as `gt_valid.mat`, in the file's order.

    Reads `dataset_joints` (keypoint names, in any order), `jnt_missing` (16, N), `pos_gt_src` (16, 2, N, 1-based)
    and `headboxes_src` (2, 2, N: corner, x or y, person). The file knows neither images nor boxes nor occlusion: a
    person's image and annotation ids are its row number + 1, its box is that of its keypoints, and a labelled
    keypoint counts as visible. Raises `UserError`: "missing-file", or "bad-annotation" naming variable and row.
    """
    path = Path(path)
    content = read_mat(path, code="bad-annotation")
    order = _keypoint_order(content, path)
    keypoints_xy = numeric(content, "pos_gt_src", path, code="bad-annotation")
    missing = numeric(content, "jnt_missing", path, code="bad-annotation")
    corners = numeric(content, "headboxes_src", path, code="bad-annotation")
    number = keypoints_xy.shape[-1] if keypoints_xy.ndim else 0
    shapes = {"pos_gt_src": (16, 2, number), "jnt_missing": (16, number), "headboxes_src": (2, 2, number)}
    for (name, shape), array in zip(shapes.items(), (keypoints_xy, missing, corners), strict=True):
        if array.shape != shape:
            raise UserError("bad-annotation", f"{path}: {name} has shape {array.shape}", str(shape))
    visibility = np.where(missing[order].T == 0, 2, 0)
    keypoints_xy = np.where(visibility[..., None] > 0, keypoints_xy[order].transpose(2, 0, 1) - 1, 0.0)
    _require_finite(keypoints_xy, f"{path}: pos_gt_src of person")
    head_sizes = MPII_HEAD_SHARE * np.hypot(*(corners[1] - corners[0]))
    _require_heads(head_sizes, path)
    return [_person(row, *found) for row, found in enumerate(zip(keypoints_xy, visibility, head_sizes, strict=True))]


def read_mpii_predictions(path: str | Path) -> Float[np.ndarray, "N 16 2"]:
    """Predicted keypoints in MPII's order, 0-based pixels, of a `pred.mat` (`preds`, (N, 16, 2), 1-based).

    Raises `UserError`: "missing-file", or "bad-prediction" naming what is wrong and where.
    """
    path = Path(path)
    predictions = numeric(read_mat(path, code="bad-prediction"), "preds", path, code="bad-prediction")
    if predictions.ndim != 3 or predictions.shape[1:] != (16, 2):
        raise UserError("bad-prediction", f"{path}: preds has shape {predictions.shape}", "(persons, 16, 2)")
    _require_finite(predictions, f"{path}: preds of person", code="bad-prediction")
    return predictions - 1


def write_mpii_predictions(path: str | Path, keypoints_xy: Float[np.ndarray, "N 16 2"]) -> None:
    """Write keypoints in MPII's order, 0-based pixels, as `pred.mat`: `preds`, (N, 16, 2), 1-based, float64."""
    assert keypoints_xy.ndim == 3
    assert keypoints_xy.shape[1:] == (16, 2)
    _require_finite(keypoints_xy, "keypoints_xy of person", code="bad-prediction")
    write_atomic(Path(path), to_mat({"preds": keypoints_xy.astype(np.float64) + 1}))


def _keypoint_order(content: dict[str, Any], path: Path) -> list[int]:
    """Where the file has the keypoints of `MPII16`."""
    names = [str(np.squeeze(name)) for name in np.ravel(content.get("dataset_joints", ()))]
    if sorted(names) != sorted(_SHORT_NAMES):
        found = f"is {', '.join(names)}" if names else "is missing"
        raise UserError("bad-annotation", f"{path}: dataset_joints {found}", ", ".join(_SHORT_NAMES))
    return [names.index(name) for name in _SHORT_NAMES]


def _person(row: int, keypoints_xy: np.ndarray, visibility: np.ndarray, head_size: float) -> PersonRecord:
    labelled = keypoints_xy[visibility > 0]
    box = np.concatenate([labelled.min(axis=0), labelled.max(axis=0)]) if len(labelled) else np.zeros(4)
    return PersonRecord(
        image_id=row + 1,
        annotation_id=row + 1,
        bbox_xyxy=box,
        keypoints_xy=keypoints_xy,
        visibility=visibility,
        area=float(np.prod(box[2:] - box[:2])),
        head_size=float(head_size),
    )


def _require_finite(values: np.ndarray, place: str, code: str = "bad-annotation") -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, k, _ = wrong[0].tolist()
        found = f"{place} {row} ({MPII16.keypoints[k]}) is {values[row, k].tolist()}"
        raise UserError(code, found, "finite numbers")


def _require_heads(head_sizes: np.ndarray, path: Path) -> None:
    wrong = np.flatnonzero(~(head_sizes > 0) | ~np.isfinite(head_sizes))
    if wrong.size:
        row = int(wrong[0])
        found = f"{path}: headboxes_src of person {row} gives a head size of {head_sizes[row]:g}"
        raise UserError("bad-annotation", found, "a box with a diagonal above 0")
