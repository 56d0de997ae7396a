"""Results find the persons they are about, by annotation id or by an image that shows one; all else is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_oks import as_result, random_records

from posefabric.data.records import GroundTruth
from posefabric.errors import UserError
from posefabric.evaluation.matching import match_results
from posefabric.skeletons import COCO17


def truth(alone: bool = True) -> GroundTruth:
    """Four persons, each on an image of its own or in twos."""
    records = random_records(0, 4)
    if alone:
        records = [replace(record, image_id=10 + i) for i, record in enumerate(records)]
    return GroundTruth(COCO17, records, tuple({record.image_id for record in records}))


def results(of: GroundTruth, *, named: bool) -> list[dict[str, Any]]:
    """A perfect result for every person, last person first."""
    return [
        as_result(record) | ({"annotation_id": record.annotation_id} if named else {}) for record in of.persons[::-1]
    ]


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_results_come_in_the_order_of_the_persons(alone: bool, named: bool) -> None:
    people = truth(alone)
    if not (alone or named):
        with pytest.raises(UserError, match=r"shows 2 labelled persons; allowed: .* annotation_id"):
            match_results(results(people, named=named), people)
        return
    found = match_results(results(people, named=named), people)
    assert found.annotation_ids.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(found.keypoints_xy, [record.keypoints_xy for record in people.persons])


def test_a_person_with_no_result_or_with_two_is_refused() -> None:
    people = truth()
    rows = results(people, named=True)
    with pytest.raises(UserError, match="1 of 4 labelled persons have no result, the first is 3"):
        match_results(rows[1:], people)
    with pytest.raises(UserError, match=r"results\[4\] is a second one for person 3"):
        match_results([*rows, rows[0]], people)
    with pytest.raises(UserError, match="shows 0 labelled persons"):
        match_results([{**rows[0], "image_id": 99} | {"annotation_id": None}], people)


@pytest.mark.parametrize("annotation_id", [[1], {"a": 1}, "1", True, 2.5, 99])
def test_a_name_that_is_nobodys_is_refused(annotation_id: object) -> None:
    people = truth()
    rows = results(people, named=True)
    with pytest.raises(UserError, match=r"results\[0\] of image 13 has the annotation_id") as caught:
        match_results([{**rows[0], "annotation_id": annotation_id}, *rows[1:]], people)
    assert caught.value.code == "bad-prediction"


def test_a_result_on_another_image_than_its_person_is_refused() -> None:
    people = truth()
    rows = results(people, named=True)
    with pytest.raises(UserError, match=r"results\[0\] of image 10 has the annotation_id 3"):
        match_results([{**rows[0], "image_id": 10}, *rows[1:]], people)
