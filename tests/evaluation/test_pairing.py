"""Poses are paired with persons as pycocotools pairs them."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from coco_sets import coco_record, random_set
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posefabric.data.records import GroundTruth
from posefabric.evaluation.pairing import BACKGROUND, IGNORED, LOOSE_OKS, match, scored_poses
from posefabric.skeletons import COCO17


def truth_of(ground_truth: dict[str, Any]) -> GroundTruth:
    persons = [coco_record(annotation) for annotation in ground_truth["annotations"]]
    return GroundTruth(COCO17, persons, [image["id"] for image in ground_truth["images"]])


def pycocotools_pairs(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[int, tuple[int, bool]]:
    """Result number (from 1) -> annotation id (0: nobody) and whether it is ignored, for those that are looked at."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(ground_truth)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluator.params.iouThrs = np.array([LOOSE_OKS])
        evaluator.evaluate()
    found = [image for image in evaluator.evalImgs if image is not None]
    return {
        number: (int(person), bool(is_ignored))
        for image in found
        for number, person, is_ignored in zip(image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0], strict=True)
    }


@pytest.mark.parametrize("block", range(4))
def test_pairs_are_those_of_pycocotools(block: int) -> None:
    seen = {"person": 0, "background": 0, "ignored": 0}
    for seed in range(block * 50, block * 50 + 50):
        ground_truth, results = random_set(seed, 17)
        if not results:
            continue
        truth = truth_of(ground_truth)
        ours = match(truth, scored_poses(results, 17))
        theirs = pycocotools_pairs(ground_truth, results)
        for number, person in enumerate(ours.persons.tolist(), start=1):
            if number not in theirs:
                assert person == IGNORED, seed  # beyond the 20 best
            elif person >= 0:
                assert theirs[number] == (truth.persons[person].annotation_id, False), seed
                seen["person"] += 1
            elif person == BACKGROUND:
                assert theirs[number] == (0, False), seed
                seen["background"] += 1
            else:
                assert theirs[number][1], seed
                seen["ignored"] += 1
    assert min(seen.values()) > 10


def test_of_two_persons_that_are_one_the_later_is_taken_and_of_equal_scores_the_earlier_comes_first() -> None:
    ground_truth, _ = random_set(0, 17)
    person = {**ground_truth["annotations"][0], "iscrowd": 0, "area": 5000.0, "num_keypoints": 17}
    person["keypoints"] = np.column_stack([np.arange(34).reshape(17, 2), np.full(17, 2)]).ravel().tolist()
    ground_truth["annotations"] = [{**person, "id": number} for number in (1, 2, 3)]
    results = [
        {"image_id": person["image_id"], "category_id": 1, "score": 0.5, "keypoints": person["keypoints"]}
        for _ in range(4)
    ]
    ours = match(truth_of(ground_truth), scored_poses(results, 17)).persons
    assert ours.tolist() == [2, 1, 0, BACKGROUND]
    assert [pair[0] for pair in pycocotools_pairs(ground_truth, results).values()] == [3, 2, 1, 0]


def test_nobody_and_nothing() -> None:
    empty = GroundTruth(COCO17, [], [1])
    assert match(empty, scored_poses([], 17)).persons.tolist() == []
    lonely = {"image_id": 1, "category_id": 1, "keypoints": [1.0] * 51, "score": 0.5}
    assert match(empty, scored_poses([lonely], 17)).persons.tolist() == [BACKGROUND]
