"""Boxes that are not as annotated: stretched over the keypoints, found by a detector, of a test split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefabric.data.boxes import ANNOTATED, STRETCH_PX, STRETCHED, detected, stretched, unlabelled
from posefabric.data.coco import CocoPeople, people_of
from posefabric.data.memory import InMemory
from posefabric.data.records import PersonRecord
from posefabric.data.sources import SYNTHETIC, open_people, source_of_boxes
from posefabric.settings import DataSettings
from posefabric.skeletons import COCO17


def people(seed: int, count: int = 5) -> CocoPeople:
    """Persons whose keypoints reach beyond their boxes; the last two are a crowd and one without a label."""
    rng = np.random.default_rng(seed)
    persons = [
        PersonRecord(
            image_id=i // 2,
            annotation_id=i,
            bbox_xyxy=np.sort(rng.uniform(20, 80, (2, 2)), axis=0).ravel(),
            keypoints_xy=rng.uniform(0, 100, (17, 2)),
            visibility=np.maximum(rng.integers(0, 3, 17), np.eye(17, dtype=int)[0]) * (i < count - 1),
            area=100.0,
            iscrowd=i == count - 2,
            image_path=f"{i // 2}.jpg",
        )
        for i in range(count)
    ]
    return people_of(COCO17, persons, {i: f"{i}.jpg" for i in range(count)}, category_id=3)


@given(st.integers(0, 1000))
def test_a_stretched_box_is_the_smallest_that_holds_box_and_keypoints(seed: int) -> None:
    before = people(seed)
    for person, wide in zip(before.persons, stretched(before).persons, strict=True):
        labelled = person.keypoints_xy[person.visibility > 0]
        low = np.minimum(person.bbox_xyxy[:2], labelled.min(0) - STRETCH_PX)
        high = np.maximum(person.bbox_xyxy[2:], labelled.max(0) + STRETCH_PX)
        np.testing.assert_array_equal(wide.bbox_xyxy, [*low, *high])
        assert (wide.annotation_id, wide.area) == (person.annotation_id, person.area)


def test_boxes_are_called_stretched_where_they_are() -> None:
    """Synthetic people have exact boxes, which no setting changes."""
    assert source_of_boxes(people(0)) == ANNOTATED
    assert source_of_boxes(InMemory(stretched(people(0)))) == STRETCHED
    assert source_of_boxes(open_people(SYNTHETIC, "val", DataSettings(stretch_boxes=True))) == ANNOTATED


def test_what_stretched_boxes_are_measured_against_stays() -> None:
    before = people(0)
    assert stretched(before).truth().persons is before.annotated


def test_detected_persons_take_the_place_of_the_annotated() -> None:
    boxes = [
        {"image_id": 1, "category_id": 3, "bbox": [1, 2, 10, 20], "score": 0.5},
        {"image_id": 0, "category_id": 3, "bbox": [1, 2, 10, 20], "score": 0.4},
        {"image_id": 4, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 0.1},
    ]
    found = detected(people(0), boxes, threshold=0.4)
    assert [(p.image_id, p.annotation_id, p.score, p.image_path) for p in found.persons] == [
        (1, -1, 0.5, "1.jpg"),
        (0, -1, 0.4, "0.jpg"),
    ]
    assert found.persons[0].bbox_xyxy.tolist() == [1, 2, 11, 22]
    assert found.persons[0].area == 200
    assert not found.persons[0].visibility.any()
    assert [p.annotation_id for p in found.truth().persons] == [0, 1, 2, 3, 4]
    assert found.truth().image_ids == (0, 1, 2, 3, 4)


def test_a_test_split_gives_everybody_but_crowds() -> None:
    assert [person.annotation_id for person in people(0).persons] == [0, 1, 2]
    assert [person.annotation_id for person in unlabelled(people(0)).persons] == [0, 1, 2, 4]


@pytest.mark.parametrize("count", [2, 9])
def test_crowds_and_unlabelled_persons_are_in_the_truth(count: int) -> None:
    truth = people(0, count).truth()
    assert (len(truth.persons), truth.category_id) == (count, 3)
    assert sum(person.iscrowd for person in truth.persons) == 1
