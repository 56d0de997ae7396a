"""COCO result files: what is read, and what is refused with which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posefabric.data import coco
from posefabric.data.records import GroundTruth
from posefabric.data.results import read_boxes, read_keypoint_results
from posefabric.errors import UserError
from posefabric.skeletons import Skeleton

TRUTH = GroundTruth(Skeleton(("nose", "tail")), (), (3, 4), category_id=1)
POSE = {"image_id": 3, "category_id": 1, "keypoints": [1, 2, 0.5, 3.5, 4, 0.25], "score": 0.75}
BOX = {"image_id": 3, "category_id": 1, "bbox": [1, 2, 30, 40.5], "score": 0.75}


def saved(folder: Path, content: Any) -> Path:
    path = folder / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def without(result: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name != key}


NAN = float("nan")
BROKEN: dict[str, tuple[Any, str]] = {
    "41 no score": (without(POSE, "score"), "/1/score (image 3): found nothing; expected a finite number"),
    "41 score NaN": (POSE | {"score": NAN}, "/1/score (image 3): found NaN at line 1, column "),
    "41 score of text": (POSE | {"score": "0.5"}, '/1/score (image 3): found "0.5"; expected a finite number'),
    "41 score too large": (POSE | {"score": 10**400}, "/1/score (image 3): found 1000"),
    "41 unknown image": (POSE | {"image_id": 5}, "/1/image_id (image 5): found 5; expected the id of an image"),
    "41 image of text": (POSE | {"image_id": "3"}, '/1/image_id (image "3"): found "3" (text); expected an integer'),
    "41 no image": (without(POSE, "image_id"), "/1/image_id: found nothing; expected an integer"),
    "41 no category": (without(POSE, "category_id"), "/1/category_id (image 3): found nothing"),
    "41 keypoint count": (
        POSE | {"keypoints": [1] * 51},
        "/1/keypoints (image 3): found 51 numbers; expected 6 numbers: x, y, score of 2 keypoints; to do: write x, y,",
    ),
    "41 no keypoints": (BOX, "/1/keypoints (image 3): found nothing; expected 6 numbers"),
    "41 null": (POSE | {"keypoints": [None] * 6}, "/1/keypoints/0 (image 3): found null and 5 more like it"),
    "42 NaN": (POSE | {"keypoints": [1, 2, 1, NAN, 3, 1]}, "/1/keypoints/3 (image 3): found NaN at line 1"),
    "42 all NaN": (POSE | {"keypoints": [NAN] * 6}, "/1/keypoints/5 (image 3): found NaN at line 1"),
    "no object": ([1], "/1: found [1]; expected an object"),
    "an id of its own": (
        POSE | {"annotation_id": 9, "score": None},
        "/1/score (annotation 9, image 3): found null; expected a finite number",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_keypoint_results_are_told(name: str, tmp_path: Path) -> None:
    result, message = BROKEN[name]
    path = saved(tmp_path, [POSE, result])
    with pytest.raises(UserError) as caught:
        read_keypoint_results(path, TRUTH)
    assert caught.value.code == "bad-prediction"
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    results = [POSE, POSE | {"score": None, "image_id": 9}, POSE | {"keypoints": []}, POSE]
    with pytest.raises(UserError, match="has 3 problems") as caught:
        read_keypoint_results(saved(tmp_path, results), TRUTH)
    for pointer in ("/1/image_id", "/1/score", "/2/keypoints"):
        assert f"{pointer} " in str(caught.value)


def test_keypoint_results_are_as_they_stand_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    results = [POSE | {"annotation_id": 12, "bbox": [1, 2, 3, 4]}, POSE | {"category_id": 2, "keypoints": [1] * 9}]
    read = read_keypoint_results(saved(tmp_path, results), TRUTH)
    assert read == results[:1]
    assert "left out: 1 of another category" in caplog.text


@pytest.mark.parametrize(
    "read", [lambda path: read_keypoint_results(path, TRUTH), lambda path: read_boxes(path, [3], 1)]
)
def test_40_an_empty_list_is_a_result_and_said(read: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read(saved(tmp_path, [])) == []
    assert "nothing was found" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found an empty file"),
        ("[{}", "found the end of the file at line 1, column 4"),
        ("[" + json.dumps(POSE) + ",]", "a comma before the ']'"),
        ('{"annotations": []}', "one with annotations is what they are measured against"),
        ("{}", "found no list; expected a list of results"),
        ("5", "found no list; expected a list of results"),
        ("[" * 10**5, "brackets in brackets"),
    ],
)
def test_what_is_no_list_of_results_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = saved(tmp_path, content)
    for read in (lambda: read_keypoint_results(path, TRUTH), lambda: read_boxes(path, [3, 4], 1)):
        with pytest.raises(UserError, match="bad-prediction") as caught:
            read()
        assert message in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing-file"):
        read_boxes(tmp_path / "none.json", [3], 1)


def test_boxes_are_read_and_what_is_left_out_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    results = [BOX | {"area": 9}, BOX | {"category_id": 2, "bbox": None}, BOX | {"image_id": 99}, BOX | {"image_id": 4}]
    assert read_boxes(saved(tmp_path, results), {3: "a", 4: "b"}, 1) == [BOX, BOX | {"image_id": 4}]
    assert "left out: 1 of another category, 1 on other images" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, "/1/bbox (image 3): found 3 numbers; expected 4 numbers: x, y, width, height"),
        ({"bbox": [9, 9, -3, 4]}, "/1/bbox (image 3): found [9, 9, -3, 4]; expected a width and a height above 0"),
        ({"bbox": [9, 9, 0, 0]}, "above 0; to do: write x, y, width, height, not two corners"),
        ({"bbox": [1, 2, NAN, 4]}, "/1/bbox/2 (image 3): found NaN"),
        ({"bbox": None}, "/1/bbox (image 3): found null"),
        ({"score": NAN}, "/1/score (image 3): found NaN"),
        ({"image_id": 3.0}, "/1/image_id"),
        ({"category_id": None}, "/1/category_id (image 3): found null"),
    ],
)
def test_broken_boxes_are_told(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bad-prediction") as caught:
        read_boxes(saved(tmp_path, [BOX, BOX | change]), [3], 1)
    assert message in str(caught.value)


def test_a_box_without_a_category_is_told(tmp_path: Path) -> None:
    nameless = {key: value for key, value in BOX.items() if key != "category_id"}
    with pytest.raises(UserError, match=r"/1/category_id \(image 3\): found nothing"):
        read_boxes(saved(tmp_path, [BOX, nameless]), [3], 1)


def test_boxes_of_other_images_alone_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"/0/image_id \(image 3\)"):
        read_boxes(saved(tmp_path, [BOX, BOX]), [7], 1)


values = st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.sampled_from([0, 3, -1, 10**400])
fields = st.sampled_from([*POSE, "bbox"])


@given(st.lists(st.dictionaries(fields, values | st.lists(values, max_size=7)), max_size=3))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_results_of_any_values_are_finite_or_refused(tmp_path: Path, changes: list[dict[str, Any]]) -> None:
    path = saved(tmp_path, [POSE | BOX | change for change in changes])
    try:
        poses = read_keypoint_results(path, TRUTH)
    except UserError:
        pass  # `BROKEN` says with which words
    else:
        assert all(np.isfinite([*pose["keypoints"], pose["score"]]).all() for pose in poses)
    try:
        boxes = read_boxes(path, [3, 4], 1)
    except UserError:
        pass
    else:
        assert all(np.isfinite([*box["bbox"], box["score"]]).all() and min(box["bbox"][2:]) >= 0 for box in boxes)


@pytest.mark.real_data
def test_real_results_are_read(real_data: Path) -> None:
    truth = coco.load(real_data / "coco_eval" / "person_keypoints_val2017_538.json").truth()
    results = read_keypoint_results(real_data / "coco_eval" / "detections_noisy.json", truth)
    assert results == json.loads((real_data / "coco_eval" / "detections_noisy.json").read_text())
    people = coco.load(real_data / "coco_mmpose" / "test_coco.json")
    boxes = real_data / "coco_mmpose" / "test_coco_det_AP_H_56.json"
    assert read_boxes(boxes, people.image_paths, people.category_id) == json.loads(boxes.read_text())
    assert len(read_boxes(boxes, [785], 1)) < 118
