"""What a network said about a row of persons: the value that enters every metric, image pixels, numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from posefabric.data.records import PersonRecord
from posefabric.errors import UserError

CONFIDENT = 0.2
"""A keypoint counts for its person's score when its own score is above this (the paper's code)."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Keypoints of N persons.

    `keypoints_xy` are float pixels of the image, 0-based. `box_scores` are those of the boxes the persons
    were cropped from, 1 for annotated boxes; then `annotation_ids` name the records, in their order. A
    detected box has annotation id -1. Values that are not finite raise `UserError("bad-prediction")`.
    """

    keypoints_xy: Float[np.ndarray, "N K 2"]
    scores: Float[np.ndarray, "N K"]
    image_ids: Int[np.ndarray, " N"]
    annotation_ids: Int[np.ndarray, " N"]
    box_scores: Float[np.ndarray, " N"]

    def __post_init__(self) -> None:
        num_persons, num_keypoints = self.scores.shape
        assert self.keypoints_xy.shape == (num_persons, num_keypoints, 2)
        for name in ("image_ids", "annotation_ids", "box_scores"):
            assert getattr(self, name).shape == (num_persons,), name
        for name in ("keypoints_xy", "scores", "box_scores"):
            _require_finite(name, getattr(self, name))

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def person_scores(self) -> Float[np.ndarray, " N"]:
        """Box score x mean score of the keypoints above `CONFIDENT`; 0 for a person without any."""
        confident = self.scores > CONFIDENT
        total = np.where(confident, self.scores, 0).sum(axis=1, dtype=np.float64)
        return np.asarray(self.box_scores * total / np.maximum(confident.sum(axis=1), 1))


def take(found: Predictions, rows: Int[np.ndarray, " M"], person_scores: Float[np.ndarray, " M"]) -> Predictions:
    """Some of the persons, with these scores; the change is the box score's."""
    before = found.person_scores[rows]
    changes = np.divide(person_scores, before, out=np.ones_like(before), where=before > 0)
    return Predictions(
        keypoints_xy=found.keypoints_xy[rows],
        scores=found.scores[rows],
        image_ids=found.image_ids[rows],
        annotation_ids=found.annotation_ids[rows],
        box_scores=found.box_scores[rows] * changes,
    )


def of_persons(
    keypoints_xy: Float[np.ndarray, "N K 2"],
    persons: Sequence[PersonRecord],
    scores: Float[np.ndarray, "N K"] | None = None,
) -> Predictions:
    """Poses of annotated persons, in their order; every score is 1 unless given.

    Raises `UserError("bad-prediction")` where there are more or fewer poses than persons.
    """
    if len(keypoints_xy) != len(persons):
        raise UserError("bad-prediction", f"{len(keypoints_xy)} poses", f"{len(persons)}, one for every person")
    return Predictions(
        keypoints_xy=keypoints_xy,
        scores=np.ones(keypoints_xy.shape[:2]) if scores is None else scores,
        image_ids=np.array([person.image_id for person in persons], dtype=np.int64),
        annotation_ids=np.array([person.annotation_id for person in persons], dtype=np.int64),
        box_scores=np.ones(len(persons)),
    )


def to_coco_results(predictions: Predictions, category_id: int = 1) -> list[dict[str, Any]]:
    """The predictions as COCO keypoint results, ready for JSON; `keypoints` is x, y, score of each."""
    triplets = np.dstack([predictions.keypoints_xy, predictions.scores]).astype(np.float64)
    num_persons, num_keypoints = predictions.scores.shape
    return [
        {"image_id": image_id, "category_id": category_id, "keypoints": keypoints, "score": score}
        for image_id, keypoints, score in zip(
            predictions.image_ids.tolist(),
            triplets.reshape(num_persons, 3 * num_keypoints).tolist(),
            predictions.person_scores.tolist(),
            strict=True,
        )
    ]


def distances_px(keypoints_xy: Float[np.ndarray, "N K 2"], records: Sequence[PersonRecord]) -> Float[np.ndarray, "N K"]:
    """How far each predicted keypoint is from the label of the record at the same place; NaN where none is.

    Raises `UserError("bad-prediction")` on predictions that do not fit the records or are not finite.
    """
    truth_xy = np.array([record.keypoints_xy for record in records])
    if keypoints_xy.shape != truth_xy.shape:
        raise UserError("bad-prediction", f"keypoints_xy has shape {keypoints_xy.shape}", f"{truth_xy.shape}")
    _require_finite("keypoints_xy", keypoints_xy)
    labelled = np.array([record.visibility > 0 for record in records])
    dx, dy = np.moveaxis(keypoints_xy - truth_xy, 2, 0)
    return np.where(labelled, np.hypot(dx, dy), np.nan)


def _require_finite(name: str, values: Float[np.ndarray, "N ..."]) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        raise UserError("bad-prediction", f"{name}{list(place)} is {values[place]}", "finite numbers")
