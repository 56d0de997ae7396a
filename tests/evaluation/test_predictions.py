"""Predictions and their COCO form."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from posefabric.errors import UserError
from posefabric.evaluation.predictions import Predictions, to_coco_results


def two_persons() -> Predictions:
    return Predictions(
        keypoints_xy=np.arange(12, dtype=np.float32).reshape(2, 3, 2),
        scores=np.array([[0.9, 0.2, 0.5], [0.1, 0.2, 0.0]], dtype=np.float32),
        image_ids=np.array([7, 8]),
        annotation_ids=np.array([1, 2]),
        box_scores=np.array([0.5, 1.0]),
    )


def test_person_score_is_box_score_times_mean_of_confident_keypoints() -> None:
    np.testing.assert_allclose(two_persons().person_scores, [0.5 * (0.9 + 0.5) / 2, 0], atol=1e-7)


def test_the_threshold_itself_is_not_confident() -> None:
    borderline = dataclasses.replace(two_persons(), scores=np.full((2, 3), 0.2))
    assert borderline.person_scores.tolist() == [0, 0]


def test_coco_results_are_plain_json_in_the_same_order() -> None:
    first, second = json.loads(json.dumps(to_coco_results(two_persons(), category_id=4)))
    assert (first["image_id"], first["category_id"]) == (7, 4)
    assert first["keypoints"] == pytest.approx([0, 1, 0.9, 2, 3, 0.2, 4, 5, 0.5])
    assert second["image_id"] == 8
    assert second["score"] == 0


@pytest.mark.parametrize("field", ["keypoints_xy", "scores", "box_scores"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_place(field: str, value: float) -> None:
    values = getattr(two_persons(), field).copy()
    values[1] = value
    with pytest.raises(UserError, match=rf"{field}\[1") as caught:
        dataclasses.replace(two_persons(), **{field: values})
    assert caught.value.code == "bad-prediction"


def test_nobody_is_allowed() -> None:
    nobody = Predictions(np.zeros((0, 3, 2)), np.zeros((0, 3)), np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    assert len(nobody) == 0
    assert to_coco_results(nobody) == []
