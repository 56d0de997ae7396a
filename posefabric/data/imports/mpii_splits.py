"""Stage 1 of the walk: which of MPII's persons are for training and which for validation, and what those measure by.

The field divides the training images as Tompson et al. (CVPR 2015) did: 2,958 persons for validation, and the 22,246
of all images in which none of these stands for training.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from posefabric.data.imports.mpii_person import MpiiPerson, bad_entry
from posefabric.data.records import PersonRecord
from posefabric.errors import UserError

logger = logging.getLogger(__name__)

SHARE = 0.1
"""Of the images, where nobody says which are for validation."""

_NEAR_PX = 0.01  # lists round to 3 decimals


def split_persons(
    persons: Sequence[MpiiPerson], validation: Sequence[MpiiPerson] | None = None
) -> dict[str, list[MpiiPerson]]:
    """The persons as "train", "val" and, if there are any, "test", each in the order in which files name them.

    `validation` names the persons for validation, by image and centre, and gives their order; others on their images
    are left out. Without it the files decide; where they do not, a tenth of the images (by a hash of their names) is
    for validation, and a warning says so. Raises `UserError("bad-annotation")` if one is not among the persons.
    """
    test = [person for person in persons if person.split == "test"]
    labelled = [person for person in persons if person.split != "test"]
    if validation is not None:
        train, val = _matched(labelled, validation)
    elif any(person.split is None for person in labelled):
        train, val = _drawn(labelled)
    else:
        train, val = ([person for person in labelled if person.split == split] for split in ("train", "val"))
    for name, part in (("training", train), ("validation", val)):
        if not part:
            raise UserError("bad-annotation", f"no person is for {name}", "one at least, for training and validation")
    return {"train": train, "val": val} | ({"test": test} if test else {})


def _matched(
    persons: Sequence[MpiiPerson], validation: Sequence[MpiiPerson]
) -> tuple[list[MpiiPerson], list[MpiiPerson]]:
    on_image = defaultdict(list)
    for person in persons:
        on_image[person.image].append(person)
    val = [_same(wanted, on_image[wanted.image]) for wanted in validation]
    images = {person.image for person in val}
    train = [person for person in persons if person.image not in images]
    left_out = len(persons) - len(train) - len(val)
    logger.info("%d persons on validation images are left out, as in the field: they are in neither list", left_out)
    return train, val


def _same(wanted: MpiiPerson, candidates: Sequence[MpiiPerson]) -> MpiiPerson:
    """The candidate with the wanted centre."""
    offsets = [candidate.centre_xy - wanted.centre_xy for candidate in candidates]
    for candidate, offset in zip(candidates, offsets, strict=True):
        if np.abs(offset).max() < _NEAR_PX:
            return candidate
    shifted = any(np.abs(np.abs(offset) - 1).max() < _NEAR_PX for offset in offsets)
    hint = "; it is 1 px from one: are its pixels counted from 0?" if shifted else ""
    found = f"centre {wanted.centre_xy.tolist()} on {wanted.image} is nobody's{hint}"
    raise bad_entry(f"{wanted.place}:", found, "a person of the annotations, pixels counted from 1")


def _drawn(persons: Sequence[MpiiPerson]) -> tuple[list[MpiiPerson], list[MpiiPerson]]:
    images = sorted({person.image for person in persons}, key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen = set(images[: max(1, round(SHARE * len(images)))])
    val = [person for person in persons if person.image in chosen]
    logger.warning(
        "nobody says which persons are for validation: %d on a tenth of the images are taken, which is not the "
        "field's split (--validation valid.json gives that)",
        len(val),
    )
    return [person for person in persons if person.image not in chosen], val


def measured_by(val: Sequence[MpiiPerson], truth: Sequence[PersonRecord]) -> list[MpiiPerson]:
    """The validation persons with the head sizes and the places of a ground truth file, in its order.

    `gt_valid.mat` has other places than the annotations for a few keypoints; PCKh is the field's only with those.
    Raises `UserError("bad-annotation")` if a row is another person, or the annotations are not 1-based.
    """
    if len(val) != len(truth):
        found = f"the ground truth has {len(truth)} persons, the validation split {len(val)}"
        raise UserError("bad-annotation", found, "the ground truth of these persons")
    _require_base_1(val, truth)
    changed = 0
    measured = []
    for person, record in zip(val, truth, strict=True):
        same = (np.abs(person.keypoints_xy - record.keypoints_xy) < _NEAR_PX).all(axis=1)
        labelled = record.visibility > 0
        if not (same & labelled).any():
            raise bad_entry(
                f"{person.place}:", "shares no keypoint with its row of the ground truth", "the same person"
            )
        changed += int((labelled & ~same).sum())
        measured.append(
            dataclasses.replace(
                person,
                keypoints_xy=record.keypoints_xy,
                visibility=np.where(labelled, np.where(person.visibility == 1, 1, 2), 0),
                head_size=record.head_size,
            )
        )
    logger.info("%d keypoints for validation are placed as in the ground truth, not as annotated", changed)
    return measured


def _require_base_1(val: Sequence[MpiiPerson], truth: Sequence[PersonRecord]) -> None:
    offsets = np.concatenate(
        [
            (record.keypoints_xy - person.keypoints_xy)[(person.visibility > 0) & (record.visibility > 0)]
            for person, record in zip(val, truth, strict=True)
        ]
    )
    if len(offsets) and np.abs(np.median(offsets, axis=0) - 1).max() < _NEAR_PX:
        raise UserError(
            "bad-annotation", "the annotations are all 1 px left of and above the ground truth", "pixels counted from 1"
        )
