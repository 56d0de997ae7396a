"""Errors that were put in are found again, and repairing them gives back what they cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_sets import coco_record, random_set
from hypothesis import given, settings
from hypothesis import strategies as st

from posefabric import documents
from posefabric.data.records import GroundTruth, PersonRecord
from posefabric.errors import UserError
from posefabric.evaluation.diagnosis import PCK_THRESHOLDS, Diagnosis, diagnose, diagnosis_of
from posefabric.evaluation.errors import KINDS, NOT_JUDGED, keypoint_errors, repaired
from posefabric.evaluation.oks import oks_metrics
from posefabric.evaluation.pairing import ScoredPoses, match
from posefabric.evaluation.pck import pck, pckh
from posefabric.evaluation.predictions import of_persons
from posefabric.skeletons import COCO17, MPII16, Skeleton

AREA = 1000.0
ERRORS = KINDS[1:]
FAR = 1e4


def two_in_an_image(num_images: int, seed: int = 0, area: float = AREA) -> GroundTruth:
    """Pairs of persons whose keypoints are all far from each other, three of four labelled."""
    rng = np.random.default_rng(seed)
    persons = []
    for number in range(2 * num_images):
        places = rng.permutation(100)[:17]
        xy = np.column_stack([places % 10, places // 10]) * 50.0 + 600 * (number % 2)
        visibility = rng.choice([0, 1, 2, 2], 17)
        visibility[:4] = 2
        box = np.array([*xy.min(0), *xy.max(0)])
        persons.append(PersonRecord(number // 2, number + 1, box, xy, visibility, area))
    return GroundTruth(COCO17, persons, range(num_images))


def at_similarity(value: float, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """A step in any direction that leaves this similarity."""
    angle = rng.uniform(0, 2 * np.pi)
    distance_px = np.sqrt(-2 * np.log(value) * AREA) * 2 * sigma
    return np.array([np.cos(angle) * distance_px, np.sin(angle) * distance_px])


def spoilt(truth: GroundTruth, seed: int, kinds: tuple[str, ...] = ERRORS) -> tuple[ScoredPoses, np.ndarray]:
    """Poses with errors of known kinds, at most five a person, the others on their labels; and the kinds."""
    rng = np.random.default_rng(seed)
    mirror = truth.skeleton.flip_permutation
    poses_xy = np.array([person.keypoints_xy for person in truth.persons])
    expected = np.array([np.where(person.visibility > 0, 0, NOT_JUDGED) for person in truth.persons])
    for number, person in enumerate(truth.persons):
        other = truth.persons[number ^ 1]
        for k in rng.permutation(np.flatnonzero(person.visibility > 0))[:5]:
            kind = str(rng.choice(kinds))
            near = at_similarity(rng.uniform(0.6, 0.99), truth.skeleton.sigmas[k], rng)
            swapped = int(rng.choice([k, mirror[k]]))
            if kind == "jitter":
                poses_xy[number, k] += at_similarity(rng.uniform(0.51, 0.84), truth.skeleton.sigmas[k], rng)
            elif kind == "inversion" and mirror[k] != k and person.visibility[mirror[k]] > 0:
                poses_xy[number, k] = person.keypoints_xy[mirror[k]] + near
            elif kind == "swap" and other.visibility[swapped] > 0:
                poses_xy[number, k] = other.keypoints_xy[swapped] + near
            elif kind == "miss":
                poses_xy[number, k] += at_similarity(rng.uniform(0.01, 0.49), truth.skeleton.sigmas[k], rng)
            else:
                continue
            expected[number, k] = KINDS.index(kind)
    image_ids = np.array([person.image_id for person in truth.persons])
    return ScoredPoses(poses_xy, rng.permutation(len(poses_xy)) / 100 + 0.1, image_ids), expected


def ap_of(truth: GroundTruth, poses: ScoredPoses) -> float:
    return oks_metrics(truth.persons, poses.to_results(1), truth.skeleton, truth.image_ids)["AP"]


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_errors_that_were_put_in_are_found_exactly(seed: int) -> None:
    truth = two_in_an_image(3, seed)
    poses, expected = spoilt(truth, seed)
    matches = match(truth, poses)
    assert matches.persons.tolist() == list(range(6))
    errors = keypoint_errors(truth, poses, matches)
    assert errors.kinds.tolist() == expected.tolist()
    diagnosis = diagnose(truth, poses.to_results(1))
    for k, name in enumerate(COCO17.keypoints):
        counts = diagnosis.keypoints[name].counts
        assert counts == {kind: (expected[:, k] == place).sum() for place, kind in enumerate(KINDS)}


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_repairing_everything_gives_an_ap_of_1(seed: int) -> None:
    truth = two_in_an_image(3, seed)
    poses, _ = spoilt(truth, seed)
    matches = match(truth, poses)
    errors = keypoint_errors(truth, poses, matches)
    assert ap_of(truth, poses) < 1
    assert ap_of(truth, repaired(truth, poses, matches, errors, ERRORS, onto_labels=True)) == pytest.approx(1)


@pytest.mark.parametrize("kind", ERRORS)
def test_repairing_the_kind_that_is_there_helps_and_no_other_changes_anything(kind: str) -> None:
    truth = two_in_an_image(6)
    poses, expected = spoilt(truth, 1, (kind,))
    assert (expected == KINDS.index(kind)).sum() > 10
    effects = diagnose(truth, poses.to_results(1)).effects
    for other in ERRORS:
        if other == kind:
            assert effects[other]["AP"] > effects["as found"]["AP"]
            assert effects[other] == effects["keypoints"]
        else:
            assert effects[other] == effects["as found"]
    matches = match(truth, poses)
    errors = keypoint_errors(truth, poses, matches)
    assert ap_of(truth, repaired(truth, poses, matches, errors, (kind,), onto_labels=True)) == pytest.approx(1)


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_repaired_keypoints_are_no_better_than_the_paper_puts_them(seed: int) -> None:
    truth = two_in_an_image(2, seed)
    poses, expected = spoilt(truth, seed)
    matches = match(truth, poses)
    errors = keypoint_errors(truth, poses, matches)
    for kind in ERRORS:
        mended = repaired(truth, poses, matches, errors, (kind,))
        after = keypoint_errors(truth, mended, matches)
        here = expected == KINDS.index(kind)
        assert (mended.keypoints_xy[~here] == poses.keypoints_xy[~here]).all()
        wanted = {"jitter": 0.85, "miss": 0.5}.get(kind, errors.nearest[here])
        np.testing.assert_allclose(after.own[here], wanted, rtol=1e-9)
        assert (after.own[here] > errors.own[here]).all()


def test_a_keypoint_on_any_other_one_of_its_person_is_a_confusion() -> None:
    truth = two_in_an_image(2)
    poses, _ = spoilt(truth, 0, ("good",))
    wrist, hip, eye = (COCO17.index(name) for name in ("left_wrist", "right_hip", "left_eye"))
    persons = [replace(person, visibility=np.full(17, 2)) for person in truth.persons]
    persons[3].visibility[wrist] = 0
    xy = poses.keypoints_xy.copy()
    xy[:, wrist] = xy[:, hip] + 0.5
    xy[1, eye] = persons[0].keypoints_xy[wrist]  # another person's: a swap at most
    found = diagnose(replace(truth, persons=persons), replace(poses, keypoints_xy=xy).to_results(1)).confusions
    assert found == {"left_wrist": {"right_hip": 3}}


def test_the_borders_between_the_kinds() -> None:
    truth = two_in_an_image(1)
    poses = ScoredPoses(np.array([p.keypoints_xy for p in truth.persons]), np.array([0.9, 0.8]), np.zeros(2, dtype=int))
    rng = np.random.default_rng(0)
    for value, kind in ((0.8501, "good"), (0.8499, "jitter"), (0.5001, "jitter"), (0.4999, "miss")):
        xy = poses.keypoints_xy.copy()
        xy[0, 1] += at_similarity(value, COCO17.sigmas[1], rng)
        moved = replace(poses, keypoints_xy=xy)
        errors = keypoint_errors(truth, moved, match(truth, moved))
        assert KINDS[errors.kinds[0, 1]] == kind
        assert errors.own[0, 1] == pytest.approx(value)


def test_poses_of_nobody_and_persons_without_a_pose() -> None:
    truth = two_in_an_image(4)
    poses, _ = spoilt(truth, 0, ("good",))
    perfect = poses.to_results(1)
    stray = [{**perfect[0], "keypoints": [FAR] * 51, "image_id": image_id, "score": 2.0} for image_id in range(3)]
    diagnosis = diagnose(truth, [*perfect[:-1], *stray])
    assert diagnosis.poses == {"persons": 7, "background": 3, "ignored": 0, "missed": 1}
    effects = {name: values["AP"] for name, values in diagnosis.effects.items()}
    assert effects["as found"] < effects["background"] < 1
    assert effects["scores"] == effects["background"]  # ranked last, they cost nothing
    assert effects["as found"] < effects["missed"] < 1
    assert effects["keypoints"] == effects["as found"]
    assert diagnose(truth, perfect).effects["as found"]["AP"] == pytest.approx(1)
    worst = diagnosis.worst[0]
    assert (worst.annotation_id, worst.oks, worst.found) == (8, 0.0, False)
    assert all(case.found and case.oks == pytest.approx(1) for case in diagnosis.worst[1:])


def test_crowds_and_unlabelled_persons_are_nobodys_error() -> None:
    truth = two_in_an_image(2)
    first, second, third, fourth = truth.persons
    unlabelled = replace(second, visibility=second.visibility * 0)
    persons = [first, unlabelled, replace(third, iscrowd=True), fourth]
    poses, _ = spoilt(truth, 0, ("good",))
    diagnosis = diagnose(replace(truth, persons=persons), poses.to_results(1))
    assert diagnosis.poses == {"persons": 2, "background": 0, "ignored": 2, "missed": 0}
    assert [case.annotation_id for case in diagnosis.worst] == [1, 4]
    assert sum(sum(k.counts.values()) for k in diagnosis.keypoints.values()) == sum(
        (person.visibility > 0).sum() for person in (first, fourth)
    )


def test_worst_cases_come_first() -> None:
    truth = two_in_an_image(40)
    poses, _ = spoilt(truth, 5)
    worst = diagnose(truth, poses.to_results(1)).worst
    values = match(truth, poses).oks
    assert [case.oks for case in worst] == sorted(values.tolist())[:50]
    by_id = {person.annotation_id: place for place, person in enumerate(truth.persons)}
    for case in worst:
        assert case.oks == values[by_id[case.annotation_id]]
        assert sum(case.counts.values()) == (truth.persons[by_id[case.annotation_id]].visibility > 0).sum()


@given(st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_any_results_have_a_diagnosis_that_json_can_hold(seed: int) -> None:
    ground_truth, results = random_set(seed, 17)
    persons = [coco_record(annotation) for annotation in ground_truth["annotations"]]
    truth = GroundTruth(COCO17, persons, [image["id"] for image in ground_truth["images"]])
    diagnosis = diagnose(truth, results)
    text = json.dumps(diagnosis.to_data(), allow_nan=False)
    assert documents.from_json(Diagnosis, text, code="bad-run", where="diagnosis.json").to_data() == json.loads(text)
    assert sum(diagnosis.poses[kind] for kind in ("persons", "background", "ignored")) == len(results)
    assert np.mean(list(diagnosis.precision.values())) == pytest.approx(diagnosis.effects["as found"]["AP"])


def test_bad_results_are_refused() -> None:
    truth = two_in_an_image(1)
    with pytest.raises(UserError, match=r"results\[0\].keypoints"):
        diagnose(truth, [{"image_id": 0, "category_id": 1, "score": 1.0, "keypoints": [float("nan")] * 51}])


def test_nothing_at_all() -> None:
    empty: Diagnosis = diagnose(GroundTruth(COCO17, [], [1]), [])
    assert empty.effects["as found"] == {"AP": -1, "AP50": -1, "AP75": -1}
    assert {keypoint.similarity for keypoint in empty.keypoints.values()} == {None}


@pytest.mark.parametrize(
    ("skeleton", "head_size", "metric", "key"), [(MPII16, 40.0, pckh, "PCKh@0.5"), (COCO17, None, pck, "PCK@0.2")]
)
def test_the_pck_curve_goes_through_the_published_points(
    skeleton: Skeleton, head_size: float | None, metric: Callable[..., dict[str, float]], key: str
) -> None:
    rng = np.random.default_rng(0)
    labels_xy = rng.uniform(0, 200, (3, skeleton.num_keypoints, 2))
    everything = np.full(skeleton.num_keypoints, 2)
    box = np.array([0.0, 0, 200, 200])
    persons = [PersonRecord(i, i + 1, box, xy, everything, AREA, head_size=head_size) for i, xy in enumerate(labels_xy)]
    found_xy = labels_xy + rng.normal(0, 12, labels_xy.shape)
    curve = diagnosis_of(GroundTruth(skeleton, persons, [0, 1, 2]), of_persons(found_xy, persons))["pck"]
    name, at = key.split("@")
    assert curve["name"] == name
    assert curve["values"][PCK_THRESHOLDS.index(float(at))] == metric(persons, found_xy, skeleton)[key]
    assert sorted(curve["values"]) == curve["values"]


def test_detected_boxes_have_no_pck_curve() -> None:
    truth = two_in_an_image(1)
    found = of_persons(np.array([p.keypoints_xy for p in truth.persons]), truth.persons)
    assert diagnosis_of(truth, found)["pck"]["values"][-1] == 100
    assert diagnosis_of(truth, replace(found, annotation_ids=np.array([-1, -1])))["pck"] is None


def test_on_coco(real_data: Path) -> None:
    folder = real_data / "coco_eval"
    ground_truth: dict[str, Any] = json.loads((folder / "person_keypoints_val2017_538.json").read_text())
    images = [image["id"] for image in ground_truth["images"][:150]]
    persons = [coco_record(a) for a in ground_truth["annotations"] if a["image_id"] in images]
    results = [r for r in json.loads((folder / "detections_noisy.json").read_text()) if r["image_id"] in images]
    truth = GroundTruth(COCO17, persons, images)
    effects = {name: values["AP"] for name, values in diagnose(truth, results).effects.items()}
    assert effects["as found"] == oks_metrics(persons, results, COCO17, images)["AP"]
    assert effects["keypoints"] > max(effects[kind] for kind in ERRORS)
    assert min(effects[kind] for kind in ERRORS) >= effects["as found"]
