"""COCO's keypoint metrics: equality to pycocotools, and each of its surprises that we took out or kept."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_sets import AREAS, coco_record, random_set
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posefabric.data.records import PersonRecord
from posefabric.errors import UserError
from posefabric.evaluation.oks import (
    OKS_KEYS,
    coco_metrics,
    coco_precision,
    keypoint_similarity,
    oks,
    oks_metrics,
)
from posefabric.skeletons import COCO17, LSP14, Skeleton


def pycocotools_metrics(ground_truth: dict[str, Any], results: list[dict[str, Any]], sigmas: Any) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(ground_truth)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluator.params.kpt_oks_sigmas = np.array(sigmas)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(value) for value in evaluator.stats]


def random_records(seed: int, num_persons: int, skeleton: Skeleton = COCO17) -> list[PersonRecord]:
    rng = np.random.default_rng(seed)
    records = []
    for number in range(num_persons):
        keypoints_xy = rng.uniform(0, 200, (skeleton.num_keypoints, 2))
        visibility = rng.integers(0, 3, skeleton.num_keypoints)
        visibility[0] = 2
        records.append(
            PersonRecord(
                image_id=number // 2,
                annotation_id=number,
                bbox_xyxy=np.array([*keypoints_xy.min(0), *keypoints_xy.max(0)]),
                keypoints_xy=keypoints_xy,
                visibility=visibility,
                area=float(rng.choice(AREAS[1:])),
            )
        )
    return records


def as_result(record: PersonRecord, **changes: Any) -> dict[str, Any]:
    keypoints = np.column_stack([record.keypoints_xy, np.ones(len(record.keypoints_xy))]).ravel().tolist()
    return {
        "image_id": record.image_id,
        "category_id": 1,
        "keypoints": keypoints,
        "score": record.score,
        **changes,
    }


def random_sigmas(seed: int) -> tuple[float, ...]:
    """COCO's, those of Leeds Sports Pose, or those of a skeleton nobody knows."""
    rng = np.random.default_rng(seed)
    return (COCO17.sigmas, LSP14.sigmas, tuple(rng.uniform(0.01, 0.2, rng.integers(1, 22)).tolist()))[seed % 3]


@pytest.mark.parametrize("block", range(10))
def test_equal_to_pycocotools_on_1000_random_sets(block: int) -> None:
    compared = 0
    for seed in itertools.count(block * 1000):
        sigmas = random_sigmas(seed)
        ground_truth, results = random_set(seed, len(sigmas))
        if results:  # pycocotools fails on none
            expected = pycocotools_metrics(ground_truth, results, sigmas)
            ours = coco_metrics(ground_truth, results, sigmas)
            np.testing.assert_allclose(list(ours.values()), expected, rtol=0, atol=1e-12, err_msg=str(seed))
            compared += 1
        if compared == 100:
            break


def test_the_random_sets_hold_what_they_are_for() -> None:
    sets = [random_set(seed, 17) for seed in range(100)]
    persons = [person for ground_truth, _ in sets for person in ground_truth["annotations"]]
    assert sum(person["iscrowd"] for person in persons) > 20
    assert sum(person["num_keypoints"] == 0 for person in persons) > 20
    assert {person["area"] for person in persons} == set(AREAS)
    per_image = [
        Counter([entry["image_id"] for entry in entries] + [image["id"] for image in ground_truth["images"]])
        for ground_truth, results in sets
        for entries in (ground_truth["annotations"], results)
    ]
    assert sum(1 in counts.values() for counts in per_image[::2]) > 20  # images without a person
    assert sum(1 in counts.values() for counts in per_image[1::2]) > 20  # images without a result
    assert sum(max(counts.values()) > 21 for counts in per_image[1::2]) > 20  # more than 20 results
    assert all(len({r["score"] for r in results}) < len(results) for _, results in sets if len(results) > 20)


@settings(max_examples=30, deadline=None)
@given(st.integers(min_value=1000, max_value=2**32))
def test_equal_to_pycocotools_when_results_carry_boxes(seed: int) -> None:
    ground_truth, results = random_set(seed, COCO17.num_keypoints)
    for i, result in enumerate(results):  # areas up to and over the border of 32^2
        result["bbox"] = [0.0, 0.0, 10.0 * (i % 12), 40.0]
    assume(results)
    expected = pycocotools_metrics(ground_truth, results, COCO17.sigmas)
    ours = coco_metrics(ground_truth, results, COCO17.sigmas)
    np.testing.assert_allclose(list(ours.values()), expected, rtol=0, atol=1e-12)


def test_reference_statistics(real_data: Path) -> None:
    folder = real_data / "coco_eval"
    ground_truth = json.loads((folder / "person_keypoints_val2017_538.json").read_text())
    results = json.loads((folder / "detections_noisy.json").read_text())
    expected = json.loads((folder / "expected_stats.json").read_text())["stats"]["noisy"]
    metrics = coco_metrics(ground_truth, results, COCO17.sigmas)
    assert tuple(metrics) == OKS_KEYS
    np.testing.assert_allclose(list(metrics.values()), expected, rtol=0, atol=1e-12)

    records = [coco_record(annotation) for annotation in ground_truth["annotations"]]
    image_ids = [image["id"] for image in ground_truth["images"]]
    from_records = oks_metrics(records, results, COCO17, image_ids)
    np.testing.assert_allclose(list(from_records.values()), expected, rtol=0, atol=1e-12)


def test_perfect_results_score_one_with_annotation_ids_that_are_0_or_equal() -> None:
    records = random_records(0, 12)
    annotation = {"id": 0, "bbox": [0, 0, 9, 9], "area": 5000.0, "num_keypoints": 17, "iscrowd": 0}
    ground_truth = {
        "images": [{"id": image_id} for image_id in range(6)],
        "categories": [{"id": 1}],
        "annotations": [as_result(record) | annotation for record in records],
    }
    results = [as_result(record) for record in records]
    assert pycocotools_metrics(ground_truth, results, COCO17.sigmas)[0] < 1
    metrics = coco_metrics(ground_truth, results, COCO17.sigmas)
    assert metrics["AP"] == metrics["AR"] == metrics["APM"] == 1
    assert metrics["APL"] == metrics["ARL"] == -1  # no large person
    metrics = oks_metrics(records, results, COCO17)
    assert metrics["AP"] == metrics["AR"] == 1


def test_pycocotools_takes_what_is_not_a_number_for_a_perfect_match() -> None:
    """Why such results are refused here."""
    record = random_records(0, 1)[0]
    annotation = {"id": 1, "bbox": [0, 0, 9, 9], "area": 5000.0, "num_keypoints": 17, "iscrowd": 0}
    ground_truth = {"images": [{"id": 0}], "categories": [{"id": 1}], "annotations": [as_result(record) | annotation]}
    nonsense = as_result(record, keypoints=[float("nan")] * 51)
    assert pycocotools_metrics(ground_truth, [nonsense], COCO17.sigmas)[0] == pytest.approx(1)
    with pytest.raises(UserError, match="0 finite"):
        coco_metrics(ground_truth, [nonsense], COCO17.sigmas)


def test_results_carry_the_category_of_the_truth() -> None:
    records = random_records(0, 2)
    results = [as_result(record, category_id=7) for record in records]
    assert oks_metrics(records, results, COCO17, category_id=7)["AP"] == 1
    with pytest.raises(UserError, match="category_id is 7"):
        oks_metrics(records, results, COCO17)


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_the_mean_of_the_precision_curves_is_ap(seed: int) -> None:
    ground_truth, results = random_set(seed, COCO17.num_keypoints)
    metrics = coco_metrics(ground_truth, results, COCO17.sigmas)
    curves = coco_precision(ground_truth, results, COCO17.sigmas)
    assert curves.shape == (10, 101)
    means = curves.mean(), curves[0].mean(), curves[5].mean()
    np.testing.assert_allclose(means, [metrics[key] for key in ("AP", "AP50", "AP75")], rtol=0, atol=1e-12)
    if metrics["AP"] >= 0:
        assert (np.diff(curves, axis=1) <= 0).all()  # interpolated: never rises with recall


def test_no_results_score_zero() -> None:
    metrics = oks_metrics(random_records(0, 12), [], COCO17)
    assert metrics["AP"] == metrics["AR"] == 0


def test_no_persons_score_minus_one() -> None:
    result = as_result(random_records(0, 1)[0])
    assert set(oks_metrics([], [result], COCO17, image_ids=[0]).values()) == {-1}
    assert set(oks_metrics([], [], COCO17).values()) == {-1}


def test_num_keypoints_is_counted_not_believed() -> None:
    ground_truth, results = random_set(7, COCO17.num_keypoints)
    lying = copy.deepcopy(ground_truth)
    for annotation in lying["annotations"]:
        annotation["num_keypoints"] = 0
    assert coco_metrics(lying, results, COCO17.sigmas) == coco_metrics(ground_truth, results, COCO17.sigmas)
    assert coco_metrics(lying, results, COCO17.sigmas)["AP"] >= 0


def test_images_without_results_are_missed_and_without_persons_are_false_positives() -> None:
    records = random_records(1, 4)
    perfect = [as_result(record) for record in records]
    assert oks_metrics(records, perfect[:2], COCO17)["AR"] == 0.5
    stray = as_result(records[0], image_id=99, score=2.0)
    with pytest.raises(UserError, match=r"results\[4\].image_id is 99"):
        oks_metrics(records, [*perfect, stray], COCO17)
    with_background = oks_metrics(records, [*perfect, stray], COCO17, image_ids=[99])
    assert with_background["AP"] < 1
    assert with_background["AR"] == 1


def test_arguments_are_not_changed_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    ground_truth, results = random_set(3, COCO17.num_keypoints)
    before = copy.deepcopy((ground_truth, results))
    coco_metrics(ground_truth, results, COCO17.sigmas)
    assert (ground_truth, results) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": float("nan")}, r"results\[1\].score"),
        ({"score": "0.9"}, r"results\[1\].score"),
        ({"score": None}, r"results\[1\].score"),
        ({"keypoints": [float("nan")] * 51}, r"results\[1\].keypoints has 51 values, 0 finite"),
        ({"keypoints": [1.0] * 48}, r"results\[1\].keypoints has 48 values"),
        ({"keypoints": [[1.0], [1.0, 2.0]]}, r"results\[1\].keypoints"),
        ({"image_id": "0"}, r"results\[1\].image_id is '0'"),
        ({"category_id": 2}, r"results\[1\].category_id is 2"),
    ],
)
def test_bad_results_are_refused(changes: dict[str, Any], message: str) -> None:
    records = random_records(0, 2)
    with pytest.raises(UserError, match=message) as caught:
        oks_metrics(records, [as_result(records[0]), as_result(records[1], **changes)], COCO17)
    assert caught.value.code == "bad-prediction"


@pytest.mark.parametrize(
    "changes",
    [
        {"keypoints": [1.0] * 50},
        {"keypoints": [float("inf")] * 51},
        {"area": None},
        {"bbox": [1, 2, 3]},
        {"iscrowd": "no"},
        {"image_id": 12345},
        {"category_id": True},
    ],
)
def test_bad_annotations_are_refused(changes: dict[str, Any]) -> None:
    ground_truth, results = random_set(3, COCO17.num_keypoints)
    ground_truth["annotations"][1].update(changes)
    (field,) = changes
    with pytest.raises(UserError, match=rf"annotations\[1\].{field}") as caught:
        coco_metrics(ground_truth, results, COCO17.sigmas)
    assert caught.value.code == "bad-annotation"
    del ground_truth["annotations"]
    with pytest.raises(UserError, match="no 'annotations'"):
        coco_metrics(ground_truth, results, COCO17.sigmas)


@given(st.integers(0, 2**32))
def test_oks_is_the_one_that_pycocotools_matches_by(seed: int) -> None:
    rng = np.random.default_rng(seed)
    records = random_records(seed, 5)
    keypoints_xy = np.array([r.keypoints_xy for r in records]) + rng.normal(0, 5, (5, 17, 2))
    values = oks(keypoints_xy, records, COCO17.sigmas)
    for record, xy, value in zip(records, keypoints_xy, values, strict=True):
        labelled = record.visibility > 0
        squared_px = ((xy - record.keypoints_xy)[labelled] ** 2).sum(axis=1)
        variances = (2 * np.array(COCO17.sigmas)[labelled]) ** 2
        expected = np.exp(-squared_px / variances / (record.area + np.spacing(1)) / 2).mean()
        assert value == pytest.approx(expected, abs=1e-12)


def test_oks_is_the_mean_of_the_labelled_keypoints_own_similarities() -> None:
    records = random_records(0, 4)
    keypoints_xy = np.array([record.keypoints_xy for record in records]) + 3
    own = keypoint_similarity(keypoints_xy, records, COCO17.sigmas)
    assert (np.isnan(own) == [record.visibility == 0 for record in records]).all()
    np.testing.assert_allclose(np.nanmean(own, axis=1), oks(keypoints_xy, records, COCO17.sigmas), atol=1e-12)


def test_oks_of_an_unlabelled_person_is_nan_and_of_a_perfect_one_is_1() -> None:
    first, second = random_records(0, 2)
    nobody = PersonRecord(0, 1, second.bbox_xyxy, second.keypoints_xy * 0, second.visibility * 0, 100.0)
    values = oks(np.array([first.keypoints_xy, second.keypoints_xy]), [first, nobody], COCO17.sigmas)
    assert values[0] == 1
    assert np.isnan(values[1])
