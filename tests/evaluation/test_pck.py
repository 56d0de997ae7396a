"""PCK and PCKh: published figures of two networks on MPII, and a plain loop written from the definition."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from posefabric.data.records import PersonRecord
from posefabric.errors import UserError
from posefabric.evaluation.mpii import read_mpii_predictions, read_mpii_truth
from posefabric.evaluation.pck import PCKH_GROUPS, pck, pckh
from posefabric.skeletons import COCO17, LSP14, MPII16, Skeleton

HAND = Skeleton(name="hand", keypoints=("palm", "thumb"))


def person(skeleton: Skeleton, rng: np.random.Generator, head_size: float | None = None) -> PersonRecord:
    """A person in a 200 px square, three in four keypoints labelled."""
    keypoints_xy = rng.uniform(0, 200, (skeleton.num_keypoints, 2))
    return PersonRecord(
        image_id=1,
        annotation_id=1,
        bbox_xyxy=np.array([10.0, 20.0, 10.0 + rng.uniform(50, 150), 120.0]),
        keypoints_xy=keypoints_xy,
        visibility=rng.choice([0, 1, 2, 2], skeleton.num_keypoints),
        area=5000.0,
        head_size=head_size,
    )


def people(seed: int, skeleton: Skeleton, num: int = 8) -> tuple[list[PersonRecord], np.ndarray]:
    """Persons and predictions some pixels away from them."""
    rng = np.random.default_rng(seed)
    records = [person(skeleton, rng) for _ in range(num)]
    truth_xy = np.array([record.keypoints_xy for record in records])
    return records, truth_xy + rng.normal(0, 20, truth_xy.shape)


def loop_percentage(
    records: list[PersonRecord],
    keypoints_xy: np.ndarray,
    lengths: list[float | None],
    keypoints: list[int],
    threshold: float,
) -> float:
    right = labelled = 0
    for record, predicted, length in zip(records, keypoints_xy, lengths, strict=True):
        for k in keypoints:
            if length and record.visibility[k] > 0:
                dx, dy = predicted[k] - record.keypoints_xy[k]
                labelled += 1
                right += (dx**2 + dy**2) ** 0.5 / length <= threshold
    return 100 * right / labelled if labelled else -1


def length_between(record: PersonRecord, i: int, j: int) -> float | None:
    if record.visibility[i] == 0 or record.visibility[j] == 0:
        return None
    dx, dy = record.keypoints_xy[i] - record.keypoints_xy[j]
    return float((dx**2 + dy**2) ** 0.5)


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([COCO17, LSP14, MPII16]))
def test_pck_equals_a_plain_loop(seed: int, skeleton: Skeleton) -> None:
    records, predicted = people(seed, skeleton)
    ends = skeleton.index("left_shoulder"), skeleton.index("right_hip")
    lengths = [length_between(record, *ends) for record in records]
    assume(any(lengths))
    result = pck(records, predicted, skeleton)
    everything = list(range(skeleton.num_keypoints))
    expected = {f"PCK@{at}": loop_percentage(records, predicted, lengths, everything, at) for at in (0.2, 0.1)}
    for k, name in enumerate(skeleton.keypoints):
        expected[name] = loop_percentage(records, predicted, lengths, [k], 0.2)
    expected |= {
        "persons": sum(map(bool, lengths)),
        "persons_left_out": sum(length is None for length in lengths),
    }
    assert result == pytest.approx(expected, abs=1e-12)


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([LSP14, MPII16]))
def test_pckh_equals_a_plain_loop(seed: int, skeleton: Skeleton) -> None:
    records, predicted = people(seed, skeleton)
    neck = "neck" if skeleton is LSP14 else "upper_neck"
    ends = skeleton.index(neck), skeleton.index("head_top")
    lengths = [length_between(record, *ends) for record in records]
    assume(any(lengths))
    result = pckh(records, predicted, skeleton)
    names = [name for name in skeleton.keypoints if name not in ("pelvis", "thorax")]
    counted = [skeleton.index(name) for name in names]
    single = {name: loop_percentage(records, predicted, lengths, [skeleton.index(name)], 0.5) for name in names}
    expected = {f"PCKh@{at}": loop_percentage(records, predicted, lengths, counted, at) for at in (0.5, 0.1, 0.11)}
    known = [value for value in single.values() if value >= 0]
    expected["PCKh@0.5_unweighted"] = sum(known) / len(known)
    for group, members in PCKH_GROUPS.items():
        known = [single[name] for name in members if single[name] >= 0]
        expected[group] = sum(known) / len(known) if known else -1
    expected |= {
        "persons": sum(map(bool, lengths)),
        "persons_left_out": sum(length is None for length in lengths),
    }
    assert result == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("network", ["bearpaw-hg_s1_b1.mat", "bearpaw-hg_s2_b1.mat"])
def test_published_pckh_of_mpii(real_data: Path, network: str) -> None:
    predictions = real_data / "mpii" / "predictions"
    records = read_mpii_truth(real_data / "mpii" / "annot" / "gt_valid.mat")
    result = pckh(records, read_mpii_predictions(predictions / network), MPII16)
    figures = json.loads((predictions / "expected_pckh.json").read_text())
    computed = figures["computed"][network]
    assert {group: round(result[group], 4) for group in PCKH_GROUPS} == {
        group: computed[group] for group in PCKH_GROUPS
    }
    assert round(result["PCKh@0.5_unweighted"], 4) == computed["Mean_unweighted"]
    assert round(result["PCKh@0.5"], 4) == computed["Mean_weighted_hrnet"]
    assert round(result["PCKh@0.1"], 4) == computed["PCKh@0.1_weighted"]
    assert result["persons"] == 2958
    if network in figures["published"]:
        ours = [result[name] for name in (*PCKH_GROUPS, "PCKh@0.5_unweighted")]
        assert np.round(ours, 2).tolist() == figures["published"][network]


def test_pckh_is_what_hrnets_evaluation_computes(real_data: Path) -> None:
    """HRNet weighs percentages by labelled counts, and prints entry 11 of a grid of 0.01 as 0.1."""
    records = read_mpii_truth(real_data / "mpii" / "annot" / "gt_valid.mat")
    predicted = read_mpii_predictions(real_data / "mpii" / "predictions" / "bearpaw-hg_s2_b1.mat")
    result = pckh(records, predicted, MPII16)
    labelled = np.array([record.visibility > 0 for record in records])
    heads = np.array([record.head_size for record in records])
    truth_xy = np.array([record.keypoints_xy for record in records])
    scaled = np.linalg.norm(predicted - truth_xy, axis=2) / heads[:, None]
    weights = labelled.sum(axis=0) * ~np.isin(MPII16.keypoints, ("pelvis", "thorax"))
    for key, threshold in (("PCKh@0.5", 0.5), ("PCKh@0.11", np.arange(0, 0.51, 0.01)[11])):
        percentages = 100 * ((scaled <= threshold) & labelled).sum(axis=0) / labelled.sum(axis=0)
        assert result[key] == pytest.approx((percentages * weights).sum() / weights.sum(), abs=1e-10)


def test_mean_pose_of_leeds_sports(real_data: Path) -> None:
    """The mean pose beats the box centre, is far from right, and gets better all the way to the labels."""
    mean_pose = np.mean([in_box(record) for record in leeds(real_data, "train")], axis=0)
    records = leeds(real_data, "val")
    guesses = np.array([from_box(mean_pose, record) for record in records])
    centres = np.array([from_box(np.full((14, 2), 0.5), record) for record in records])
    labels = np.array([record.keypoints_xy for record in records])
    steps = [centres, *(guesses + t * (labels - guesses) for t in (0, 0.25, 0.5, 0.75, 1))]
    for metric, key in ((pck, "PCK@0.2"), (pckh, "PCKh@0.5")):
        results = [metric(records, step, LSP14) for step in steps]
        values = [result[key] for result in results]
        assert values == sorted(values)
        assert 0 < values[0] < values[1] < 15 < values[3] < values[5] == 100
        assert (results[0]["persons"], results[0]["persons_left_out"]) == (300, 0)


@pytest.mark.parametrize(("metric", "key"), [(pck, "PCK@0.2"), (pckh, "PCKh@0.5")])
def test_near_is_100_and_far_is_0(metric: object, key: str) -> None:
    records, _ = people(5, MPII16)
    labels = np.array([record.keypoints_xy for record in records])
    assert callable(metric)
    assert metric(records, labels, MPII16)[key] == 100
    assert metric(records, labels + 1e5, MPII16)[key] == 0
    assert metric(records, labels + 1e300, MPII16)[key] == 0


def test_the_threshold_itself_is_right() -> None:
    record, _ = people(0, HAND)
    at_border = dataclasses.replace(
        record[0],
        bbox_xyxy=np.array([0.0, 0.0, 10.0, 40.0]),
        keypoints_xy=np.zeros((2, 2)),
        visibility=np.array([2, 1]),
    )
    result = pck([at_border], np.array([[[8.0, 0.0], [8.0 + 1e-9, 0.0]]]), HAND)
    assert result == {
        "PCK@0.2/box": 50, "PCK@0.1/box": 0, "palm": 100, "thumb": 0, "persons": 1, "persons_left_out": 0,
    }  # fmt: skip


def test_persons_without_a_torso_are_left_out_and_counted() -> None:
    records, predicted = people(3, COCO17, num=3)
    seen = [dataclasses.replace(record, visibility=np.full(17, 2)) for record in records]
    hidden = np.full(17, 2)
    hidden[COCO17.index("right_hip")] = 0
    flat = seen[2].keypoints_xy.copy()
    flat[COCO17.index("right_hip")] = flat[COCO17.index("left_shoulder")]
    mixed = [
        seen[0],
        dataclasses.replace(seen[1], visibility=hidden),
        dataclasses.replace(seen[2], keypoints_xy=flat),
    ]
    result = pck(mixed, predicted, COCO17)
    assert (result["persons"], result["persons_left_out"]) == (1, 2)
    alone = pck(seen[:1], predicted[:1], COCO17)
    assert {**result, "persons_left_out": 0} == alone
    with pytest.raises(UserError, match="none of 2 persons") as caught:
        pck(mixed[1:], predicted[1:], COCO17)
    assert caught.value.code == "missing-keypoints"


def test_head_sizes_given_by_the_data_win() -> None:
    records, predicted = people(4, MPII16, num=3)
    sizes = (30.0, None, 60.0)
    sized = [dataclasses.replace(r, head_size=size) for r, size in zip(records, sizes, strict=True)]
    result = pckh(sized, predicted, MPII16)
    counted = [k for k, name in enumerate(MPII16.keypoints) if name not in ("pelvis", "thorax")]
    assert result["PCKh@0.5"] == pytest.approx(loop_percentage(sized, predicted, list(sizes), counted, 0.5))
    assert result["persons_left_out"] == 1


def test_pckh_without_a_head_is_refused_by_name() -> None:
    records, predicted = people(4, COCO17)
    with pytest.raises(UserError, match="coco17 lacks neck or upper_neck and head_top") as caught:
        pckh(records, predicted, COCO17)
    assert caught.value.code == "missing-keypoints"
    assert caught.value.exit_code == 65
    sized = [dataclasses.replace(record, head_size=30.0) for record in records]
    assert pckh(sized, predicted, COCO17)["Head"] == -1  # no head top to be right about


@pytest.mark.parametrize("metric", [pck, pckh])
def test_bad_predictions_are_refused(metric: object) -> None:
    records, predicted = people(4, MPII16)
    assert callable(metric)
    with pytest.raises(UserError, match=r"shape \(7, 16, 2\)") as caught:
        metric(records, predicted[1:], MPII16)
    assert caught.value.code == "bad-prediction"
    predicted[2, 3, 1] = np.nan
    with pytest.raises(UserError, match=r"keypoints_xy\[2, 3, 1\] is nan") as caught:
        metric(records, predicted, MPII16)
    assert caught.value.code == "bad-prediction"
    with pytest.raises(UserError, match="none of 0 persons"):
        metric([], predicted[:0], MPII16)


def leeds(real_data: Path, split: str) -> list[PersonRecord]:
    content = json.loads((real_data / "lspet" / f"person_keypoints_{split}.json").read_text())
    records = []
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        keypoints = np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)
        records.append(
            PersonRecord(
                image_id=annotation["image_id"],
                annotation_id=annotation["id"],
                bbox_xyxy=np.array([x, y, x + width, y + height]),
                keypoints_xy=keypoints[:, :2],
                visibility=keypoints[:, 2].astype(int),
                area=annotation["area"],
            )
        )
    return records


def in_box(record: PersonRecord) -> np.ndarray:
    start, end = record.bbox_xyxy[:2], record.bbox_xyxy[2:]
    middle_where_unlabelled = np.where(record.visibility[:, None] > 0, record.keypoints_xy, (start + end) / 2)
    return (middle_where_unlabelled - start) / (end - start)


def from_box(pose: np.ndarray, record: PersonRecord) -> np.ndarray:
    return record.bbox_xyxy[:2] + pose * (record.bbox_xyxy[2:] - record.bbox_xyxy[:2])
