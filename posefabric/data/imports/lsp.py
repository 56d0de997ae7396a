"""Stage 1 of the walk: Leeds Sports Pose, `joints.mat` beside a folder of images numbered from 1.

Two layouts carry a flag of two meanings. LSP, (3, 14, N): every keypoint is labelled, the flag marks occluded ones.
LSP extended, (14, 3, N): the flag marks labelled ones. Neither says whether pixels count from 0 or from 1; they are
taken as they are, as everybody does, for the labels are some pixels from right.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from posefabric.data.records import PersonRecord
from posefabric.errors import UserError
from posefabric.matlab import numeric, read_mat

logger = logging.getLogger(__name__)

GROWTH = 0.1
"""A person's box is that of the labelled keypoints, grown on every side by this share of its longer side."""

_NUMBER = re.compile(r"im(\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)


def read_lsp(joints: Path, images: Path | None = None) -> list[PersonRecord]:
    """The persons in the order of `joints.mat`; image ids and annotation ids are their numbers, from 1.

    `images` is looked into for the names (`im0001.jpg`, `im00001.png`); without it they are those of the release.
    Raises `UserError`: "missing-file", or "bad-annotation" naming the person.
    """
    layers = numeric(read_mat(joints, code="bad-annotation"), "joints", joints, code="bad-annotation")
    keypoints_xy, visibility = _in_layout(layers, joints)
    wrong = np.argwhere(~np.isfinite(keypoints_xy))
    if len(wrong):
        person, keypoint, _ = wrong[0].tolist()
        found = (
            f"{joints}: joints of person {person + 1}, keypoint {keypoint + 1}, are {keypoints_xy[person, keypoint]}"
        )
        raise UserError("bad-annotation", found, "finite numbers")
    names = _names(images, len(keypoints_xy), digits=4 if layers.shape[0] == 3 else 5)
    return [
        _record(number, name, *labels)
        for number, (name, *labels) in enumerate(zip(names, keypoints_xy, visibility, strict=True), start=1)
    ]


def split_lsp(persons: list[PersonRecord]) -> dict[str, list[PersonRecord]]:
    """LSP's 2,000: the first half is for training, the second, the field's test set, for validation.

    Of others (LSP extended is all for training) every tenth is for validation, and a warning says so.
    """
    if len(persons) == 2000:
        return {"train": persons[:1000], "val": persons[1000:]}
    if len(persons) < 2:
        raise UserError("bad-annotation", f"{len(persons)} persons", "two at least, for training and validation")
    logger.warning("nobody says which persons are for validation: every tenth of %d is taken", len(persons))
    return {
        "train": [person for person in persons if person.annotation_id % 10 != 1],
        "val": [person for person in persons if person.annotation_id % 10 == 1],
    }


def _in_layout(layers: np.ndarray, path: Path) -> tuple[Float[np.ndarray, "N 14 2"], Int[np.ndarray, "N 14"]]:
    if layers.ndim == 3 and layers.shape[:2] == (3, 14):
        keypoints_xy, flags = layers[:2].transpose(2, 1, 0), layers[2].T
        visibility = np.where(flags == 1, 1, 2)
    elif layers.ndim == 3 and layers.shape[:2] == (14, 3):
        keypoints_xy, flags = layers[:, :2].transpose(2, 0, 1), layers[:, 2].T
        visibility = np.where(flags == 1, 2, 0)
    else:
        raise UserError("bad-annotation", f"{path}: joints has shape {layers.shape}", "(3, 14, N) or (14, 3, N)")
    if not np.isin(flags, (0, 1)).all():
        person, keypoint = np.argwhere(~np.isin(flags, (0, 1)))[0].tolist()
        found = f"{path}: the flag of person {person + 1}, keypoint {keypoint + 1}, is {flags[person, keypoint]}"
        raise UserError("bad-annotation", found, "0 or 1")
    return np.where(visibility[..., None] > 0, keypoints_xy, 0.0), visibility


def _names(images: Path | None, count: int, digits: int) -> list[str]:
    files = sorted(images.iterdir()) if images else []
    found = {int(match[1]): file.name for file in files if (match := _NUMBER.fullmatch(file.name))}
    return [found.get(number, f"im{number:0{digits}}.jpg") for number in range(1, count + 1)]


def _record(
    number: int, name: str, keypoints_xy: Float[np.ndarray, "14 2"], visibility: Int[np.ndarray, "14"]
) -> PersonRecord:
    labelled = keypoints_xy[visibility > 0]
    box = np.zeros(4)
    if len(labelled):
        low, high = labelled.min(axis=0), labelled.max(axis=0)
        grown = GROWTH * (high - low).max()
        box = np.concatenate([low - grown, high + grown])
    return PersonRecord(
        image_id=number,
        annotation_id=number,
        bbox_xyxy=box,
        keypoints_xy=keypoints_xy,
        visibility=visibility,
        area=float(np.prod(box[2:] - box[:2])),
        image_path=name,
    )
