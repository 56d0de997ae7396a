"""Stage 1 of the walk: MPII Human Pose, as its release (`.mat`) or as the JSON lists the field made of it.

MPII's conventions end here: pixels counted from 1, a person given as a centre and a height in units of 200 px, a
place of its own for keypoints without a label. Its order of keypoints is that of `skeletons.MPII16`.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from posefabric.data.imports.mpii_person import MpiiPerson, all_read, bad_entry
from posefabric.data.imports.mpii_release import read_release
from posefabric.errors import UserError
from posefabric.skeletons import MPII16

_UNLABELLED = ((0.0, 0.0), (-1.0, -1.0))
"""Where lists put keypoints nobody labelled: hourglass lists at 0, HRNet's at -1."""

_SHIFTED = (-2.0, -2.0)
"""Where HRNet's would be, had somebody subtracted 1 already."""

_FOLDERS = (".", "annot", "mpii_human_pose_v1_u12_2")
_SPLIT_FILES = {"train": "train.json", "val": "valid.json", "test": "test.json"}
LARGEST_LIST = 200 * 10**6
"""Bytes of JSON, unpacked; the field's lists have a fifth of it at most."""

_WHOLE_FILES = ("mpii_annotations.json", "mpii_annotations.json.gz", "mpii_human_pose_v1_u12_1.mat")


def find_annotations(source: str | Path) -> dict[Path, str | None]:
    """The annotation files that a source stands for, with the split each holds (None: the file says, or nobody does).

    A source is one file, or a folder with `train.json` and `valid.json` (HRNet's), `mpii_annotations.json` (the
    hourglass list) or `mpii_human_pose_v1_u12_1.mat` (the release), there or in the folders they come in.
    """
    source = Path(source)
    if not source.is_dir():
        return {source: None}
    for folder in (source / name for name in _FOLDERS):
        splits = {split: _file(folder, name) for split, name in _SPLIT_FILES.items()}
        if splits["train"] and splits["val"]:
            return {file: split for split, file in splits.items() if file}
        for name in _WHOLE_FILES:
            if (folder / name).is_file():
                return {folder / name: None}
    known = f"train.json and valid.json, {', '.join(_WHOLE_FILES)}"
    raise UserError("missing-file", f"{source} has no annotations of MPII", f"one of: {known}")


def read_mpii(files: Mapping[Path, str | None]) -> list[MpiiPerson]:
    """The persons of these annotation files in file order. Raises `UserError`: "missing-file" or "bad-annotation"."""
    return [person for file, split in files.items() for person in _read(file, split)]


def _file(folder: Path, name: str) -> Path | None:
    """The file, plain or gzipped, if it is there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read(path: Path, split: str | None) -> list[MpiiPerson]:
    if path.suffix == ".mat":
        return read_release(path)
    entries = _read_list(path)
    style = _hourglass if entries and "joint_self" in entries[0] else _hrnet
    return list(all_read(partial(style, entry, f"{path.name}[{i}]", split) for i, entry in enumerate(entries)))


def _read_list(path: Path) -> list[dict[str, Any]]:
    expected = "a JSON list of persons, or MPII's .mat file"
    if not path.is_file():
        raise UserError("missing-file", f"{path} does not exist or is not a file", expected)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(LARGEST_LIST + 1)
        if len(data) > LARGEST_LIST:
            raise UserError("bad-annotation", f"{path} is too large", f"at most {LARGEST_LIST // 10**6} MB of JSON")
        entries = json.loads(data)
    except UserError:
        raise
    except (ValueError, RecursionError, OSError, EOFError, zlib.error) as error:
        raise UserError("bad-annotation", f"{path} is not JSON: {error}", expected) from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError("bad-annotation", f"{path} is not a list of objects", expected)
    return entries


def _hourglass(entry: dict[str, Any], place: str, split: str | None) -> MpiiPerson:
    """An entry of `mpii_annotations.json`: `joint_self` is x, y and whether the keypoint is visible."""
    triples = _numbers(entry, "joint_self", (16, 3), place)
    validation = _numbers(entry, "isValidation", (), place)
    return MpiiPerson(
        place=place,
        image=_image(entry, "img_paths", place),
        centre_xy=_numbers(entry, "objpos", (2,), place),
        scale=_scale(entry, "scale_provided", place),
        keypoints_xy=triples[:, :2] - 1,
        visibility=_visibility(triples[:, :2], triples[:, 2], place),
        split=split or ("val" if validation else "train"),
    )


def _hrnet(entry: dict[str, Any], place: str, split: str | None) -> MpiiPerson:
    """An entry of `train.json`, `valid.json` or (without keypoints) `test.json`."""
    points_xy, flags = np.zeros((16, 2)), np.zeros(16)
    if "joints" in entry or split in ("train", "val"):
        points_xy = _numbers(entry, "joints", (16, 2), place)
        flags = _numbers(entry, "joints_vis", (16,), place)
    return MpiiPerson(
        place=place,
        image=_image(entry, "image", place),
        centre_xy=_numbers(entry, "center", (2,), place),
        scale=_scale(entry, "scale", place),
        keypoints_xy=points_xy - 1,
        visibility=_visibility(points_xy, flags, place),
        split=split,
    )


def _visibility(
    points_xy: Float[np.ndarray, "16 2"], flags: Float[np.ndarray, "16"], place: str
) -> Int[np.ndarray, "16"]:
    """0, 1 or 2 from a flag and the place.

    A flag of 0 means "not labelled" in HRNet's lists and "not labelled or occluded" in hourglass lists; in both, a
    keypoint without a label stands at one of `_UNLABELLED`.
    """
    if not np.isin(flags, (0, 1)).all():
        raise bad_entry(place, f"has the visibility {flags[~np.isin(flags, (0, 1))][0]:g}", "0 or 1")
    if (points_xy[flags == 0] == _SHIFTED).all(axis=1).any():
        raise bad_entry(place, f"has an unlabelled keypoint at {_SHIFTED}, as if pixels were counted from 0", "from 1")
    nowhere = np.any([(points_xy == spot).all(axis=1) for spot in _UNLABELLED], axis=0)
    if (wrong := np.flatnonzero(nowhere & (flags == 1))).size:
        name, spot = MPII16.keypoints[wrong[0]], points_xy[wrong[0]].tolist()
        raise bad_entry(place, f"has a visible {name} at {spot}", "a place in the image, or the visibility 0")
    return np.where(nowhere, 0, np.where(flags == 1, 2, 1))


def _image(entry: dict[str, Any], key: str, place: str) -> str:
    name = entry.get(key)
    if not isinstance(name, str) or not name:
        raise bad_entry(f"{place}.{key}", f"is {json.dumps(name)}", "the name of an image file")
    return name


def _scale(entry: dict[str, Any], key: str, place: str) -> float:
    scale = float(_numbers(entry, key, (), place))
    if not 0 < scale < math.inf:
        raise bad_entry(f"{place}.{key}", f"is {scale:g}", "a person's height in units of 200 px, above 0")
    return scale


def _numbers(entry: dict[str, Any], key: str, shape: Sequence[int], place: str) -> np.ndarray:
    expected = f"finite numbers of shape {tuple(shape)}" if shape else "a finite number"
    if key not in entry:
        raise bad_entry(f"{place}.{key}", "is missing", expected)
    try:
        numbers = np.array(entry[key])
    except ValueError as error:  # lists of different lengths
        raise bad_entry(f"{place}.{key}", "is a ragged list", expected) from error
    if numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
        raise bad_entry(f"{place}.{key}", f"is {json.dumps(entry[key])[:60]}", expected)
    if numbers.shape != tuple(shape):
        raise bad_entry(f"{place}.{key}", f"has shape {numbers.shape}", expected)
    return numbers.astype(np.float64)
