"""What persons contribute to a figure: their weighted mean is the figure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from posefabric.data.records import GroundTruth, PersonRecord
from posefabric.errors import UserError
from posefabric.evaluation.figures import figures
from posefabric.evaluation.persons import METRICS, headline_metric, person_scores
from posefabric.evaluation.predictions import of_persons
from posefabric.skeletons import COCO17, LSP14, MPII16, Skeleton

HAND = Skeleton(name="hand", keypoints=("palm", "thumb"))


def truth_and_found(skeleton: Skeleton, seed: int = 0) -> tuple[GroundTruth, np.ndarray]:
    """Persons of whom some lack labels, one all of them, and predictions some pixels away."""
    random = np.random.default_rng(seed)
    persons = []
    for number in range(12):
        keypoints_xy = random.uniform(0, 200, (skeleton.num_keypoints, 2))
        visibility = random.choice([0, 1, 2, 2], skeleton.num_keypoints) * (number != 3)
        box = np.array([10.0, 20.0, 10.0 + random.uniform(50, 150), 120.0])
        persons.append(
            PersonRecord(
                image_id=number,
                annotation_id=100 + number,
                bbox_xyxy=box,
                keypoints_xy=keypoints_xy,
                visibility=visibility,
                area=5000.0,
            )
        )
    found_xy = np.array([person.keypoints_xy for person in persons]) + random.normal(0, 20, (12, 1, 1))
    return GroundTruth(skeleton, persons, range(12)), found_xy


@pytest.mark.parametrize("skeleton", [COCO17, LSP14, MPII16, HAND], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric != "AP"])
def test_the_weighted_mean_of_persons_is_the_figure(metric: str, skeleton: Skeleton) -> None:
    truth, found_xy = truth_and_found(skeleton)
    found = of_persons(found_xy, truth.persons)
    measured = figures(truth, found)
    if metric not in measured:
        pytest.skip("the skeleton has no such figure")
    persons = person_scores(metric, truth, found)
    counted = persons.weights > 0
    mean = np.average(persons.scores[counted], weights=persons.weights[counted])
    assert mean == pytest.approx(measured[metric], abs=1e-9)
    assert persons.annotation_ids.tolist() == [id for id in range(100, 112) if id != 103]


def test_average_precision_is_weighed_by_oks() -> None:
    truth, found_xy = truth_and_found(COCO17)
    exact = np.array([person.keypoints_xy for person in truth.persons])
    persons = person_scores("AP", truth, of_persons(exact, truth.persons))
    assert persons.scores == pytest.approx(1.0)
    worse = person_scores("AP", truth, of_persons(found_xy, truth.persons))
    assert (worse.scores < 1).all()


def test_a_metric_the_skeleton_does_not_allow_is_refused() -> None:
    truth, found_xy = truth_and_found(HAND)
    found = of_persons(found_xy, truth.persons)
    with pytest.raises(UserError, match="head_top"):
        person_scores("PCKh@0.5", truth, found)
    with pytest.raises(UserError, match=r"PCK@0\.2"):
        person_scores("PCK", truth, found)


def test_the_headline_is_the_first_that_the_data_give() -> None:
    truth, found_xy = truth_and_found(HAND)
    assert headline_metric(figures(truth, of_persons(found_xy, truth.persons))) == "PCK@0.2/box"
    assert headline_metric({"AP": 0.5, "PCK@0.2": 50.0}) == "PCK@0.2"
    assert headline_metric({"AP": 0.5, "persons": 3.0}) == "AP"
    assert headline_metric({}) is None
    assert dataclasses.is_dataclass(person_scores("AP", truth, of_persons(found_xy, truth.persons)))
