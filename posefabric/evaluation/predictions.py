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
    detected box has annotation id 0. Values that are not finite raise `UserError("bad-prediction")`.
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
