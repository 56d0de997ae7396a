"""What a network said about a row of persons: the value that enters every metric, image pixels, numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from posefabric.errors import UserError

CONFIDENT = 0.2
"""A keypoint counts for its person's score when its own score is above this (the paper's code)."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Keypoints of N persons.

    `keypoints_xy` are float pixels of the image, 0-based. `box_scores` are those of the boxes the persons were
    cropped from, 1 for annotated boxes; then `annotation_ids` name the records, in their order. A detected box has
    annotation id 0. Values that are not finite raise `UserError("bad-prediction")`.
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
            require_finite(name, getattr(self, name))

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def person_scores(self) -> Float[np.ndarray, " N"]:
        """Box score x mean score of the keypoints above `CONFIDENT`; 0 for a person without any."""
        confident = self.scores > CONFIDENT
        total = np.where(confident, self.scores, 0).sum(axis=1, dtype=np.float64)
        return np.asarray(self.box_scores * total / np.maximum(confident.sum(axis=1), 1))


def to_coco_results(predictions: Predictions, category_id: int = 1) -> list[dict[str, Any]]:
    """The predictions as COCO keypoint results, ready for JSON: `keypoints` is x, y, score of each in turn."""
    triplets = np.concatenate([predictions.keypoints_xy, predictions.scores[..., None]], axis=2)
    return [
        {"image_id": image_id, "category_id": category_id, "keypoints": keypoints, "score": score}
        for image_id, keypoints, score in zip(
            predictions.image_ids.tolist(),
            triplets.astype(np.float64).reshape(len(predictions), -1).tolist(),
            predictions.person_scores.tolist(),
            strict=True,
        )
    ]


def require_finite(name: str, values: Float[np.ndarray, "N ..."]) -> None:
    """Raise `UserError("bad-prediction")` naming the first entry that is not finite."""
    finite = np.isfinite(values)
    if not finite.all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        raise UserError("bad-prediction", f"{name}{list(place)} is {values[place]}", "finite numbers")
