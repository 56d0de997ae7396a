"""Evaluation: the figures are those of the predictions, whatever the batch; the flip test sees both sides alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import lively_net, small_config, small_people, small_supernet

from posefabric.config import Config
from posefabric.data.coco import people_of
from posefabric.data.loader import Batch, collate
from posefabric.data.records import GroundTruth, truth_of
from posefabric.data.synthetic import SyntheticPeople
from posefabric.data.transforms import make_sample
from posefabric.engine.evaluate import evaluate, predict_people, survivors
from posefabric.evaluation.figures import figures
from posefabric.evaluation.oks import oks_metrics
from posefabric.evaluation.pck import pck, pckh
from posefabric.evaluation.predictions import Predictions, of_persons, to_coco_results
from posefabric.models.net import PoseNet
from posefabric.predictor import Predictor, crop_settings, infer
from posefabric.skeletons import COCO17, MPII16, Skeleton

VAL = small_people(6, seed=1)
MOVE = np.array([40, 20])
RECORDS = [VAL.record(index) for index in range(len(VAL))]


@pytest.fixture(scope="module")
def net() -> PoseNet:
    return lively_net(small_config())


def batch_of(config: Config, indices: Sequence[int]) -> Batch:
    view = crop_settings(config, small_supernet(config), augmented=False)
    samples = [
        make_sample(VAL.record(i), VAL.image(i), VAL.skeleton, view.input_hw, margin=view.margin) for i in indices
    ]
    return collate(samples, indices, view)


def near_truth(skeleton: Skeleton, error_px: float) -> tuple[GroundTruth, Predictions]:
    """Predictions that miss every label by the same vector."""
    truth = truth_of(SyntheticPeople(skeleton, count=4, image_hw=(96, 80)))
    keypoints_xy = np.stack([person.keypoints_xy for person in truth.persons]) + np.array([error_px, 0])
    return truth, of_persons(keypoints_xy, truth.persons)


def test_figures_are_those_of_predicting_person_by_person(net: PoseNet) -> None:
    config = small_config()
    predictor = Predictor(net, config)
    poses = [predictor.predict(VAL.image(i), [RECORDS[i].bbox_xyxy]) for i in range(len(VAL))]
    found = Predictions(
        keypoints_xy=np.concatenate([pose.xy for pose in poses]),
        scores=np.concatenate([pose.score for pose in poses]),
        image_ids=np.array([record.image_id for record in RECORDS]),
        annotation_ids=np.array([record.annotation_id for record in RECORDS]),
        box_scores=np.ones(len(VAL)),
    )
    expected = oks_metrics(RECORDS, to_coco_results(found), COCO17) | pck(RECORDS, found.keypoints_xy, COCO17)
    assert evaluate(net, VAL, config) == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("skeleton", [COCO17, MPII16], ids=lambda skeleton: skeleton.name)
def test_every_metric_that_the_skeleton_allows(skeleton: Skeleton) -> None:
    truth, found = near_truth(skeleton, error_px=0)
    persons = truth.persons
    measured = figures(truth, found)
    expected = {**oks_metrics(persons, to_coco_results(found), skeleton), **pck(persons, found.keypoints_xy, skeleton)}
    if skeleton is MPII16:
        expected |= pckh(persons, found.keypoints_xy, skeleton)
        assert measured["PCKh@0.5"] == 100
    assert measured == pytest.approx(expected, nan_ok=True)
    assert measured["AP"] == pytest.approx(1)
    assert (measured.get("PCKh@0.5") is None) == (skeleton is COCO17)
    worse = figures(*near_truth(skeleton, error_px=4))
    assert worse["AP"] < measured["AP"]


@pytest.mark.parametrize("flip_test", ["true", "false"])
def test_evaluation_does_not_depend_on_the_batch(net: PoseNet, flip_test: str) -> None:
    rows = []
    for size in (1, 4, 32):
        config = small_config(f"evaluation.batch_size={size}", f"evaluation.flip_test={flip_test}")
        rows.append(predict_people(net, VAL, replace_decode(config)))
    for other in rows[1:]:
        np.testing.assert_allclose(other.keypoints_xy, rows[0].keypoints_xy, atol=1e-3)
        np.testing.assert_allclose(other.scores, rows[0].scores, atol=1e-5)
        assert other.image_ids.tolist() == [record.image_id for record in RECORDS]


def replace_decode(config: Config) -> Config:
    """Without the quarter pixel, whose sign hangs on the last bit where a heatmap is flat."""
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"decode": "argmax"})})


def test_workers_change_no_prediction(net: PoseNet) -> None:
    alone, helped = (predict_people(net, VAL, small_config(f"data.num_workers={n}")) for n in (0, 2))
    np.testing.assert_array_equal(alone.keypoints_xy, helped.keypoints_xy)
    np.testing.assert_array_equal(alone.scores, helped.scores)


@pytest.mark.parametrize("decode", ["argmax", "quarter", "dark", "soft-argmax"])
def test_with_the_flip_test_a_mirrored_image_gives_mirrored_keypoints(net: PoseNet, decode: str) -> None:
    config = small_config("evaluation.flip_test=true", f"evaluation.decode={decode}")
    batch = batch_of(config, range(len(VAL)))
    batch = batch._replace(crop_to_image=torch.eye(2, 3).expand(len(VAL), 2, 3))
    seen, scores = infer(net, batch, config)
    mirrored, mirrored_scores = infer(net, batch._replace(images=batch.images.flip(-1)), config)
    order = list(COCO17.flip_permutation)
    expected = mirrored[:, order]
    expected[..., 0] = 63 - expected[..., 0]
    np.testing.assert_allclose(scores, mirrored_scores[:, order], atol=1e-6)
    np.testing.assert_allclose(seen, expected, atol=0.05)  # where a peak is flat, "dark" enlarges the last bits
    plain, _ = infer(net, batch, small_config(f"evaluation.decode={decode}"))
    assert np.abs(plain - seen).max() > 1


def test_keypoints_are_those_of_the_image(net: PoseNet) -> None:
    """A person moved with its box by whole pixels is found moved as much."""
    config = small_config()
    image = VAL.image(0)
    box = np.array([8.0, 8.0, 39.0, 49.0])
    wide = np.zeros((image.shape[0] + 30, image.shape[1] + 50, 3), np.uint8)
    framed = wide.copy()
    framed[:64, :48] = image
    wide[20:84, 40:88] = image
    predictor = Predictor(net, config)
    first, moved = predictor.predict(framed, [box]), predictor.predict(wide, [box + np.tile(MOVE, 2)])
    np.testing.assert_allclose(moved.xy, first.xy + MOVE, atol=1e-3)


def test_boxes_of_detectors_keep_their_scores(net: PoseNet) -> None:
    class Detected:
        skeleton = COCO17
        truth = staticmethod(VAL.truth)

        def __len__(self) -> int:
            return len(VAL)

        def record(self, index: int):  # type: ignore[no-untyped-def]
            return replace(VAL.record(index), score=0.5)

        def image(self, index: int):  # type: ignore[no-untyped-def]
            return VAL.image(index)

    found = predict_people(net, Detected(), small_config())
    assert found.box_scores.tolist() == [0.5] * len(VAL)


@pytest.mark.parametrize(("suppression", "left"), [("hard", 6), ("soft", 12), ("none", 12)])
def test_a_person_in_two_boxes_of_an_image_stays_once(suppression: str, left: int) -> None:
    """Every person twice, the second time with half the score: hard suppression takes the second away."""
    twice = [replace(record, score=score) for record in RECORDS for score in (1.0, 0.5)]
    keypoints_xy = np.stack([record.keypoints_xy for record in twice])
    found = replace(of_persons(keypoints_xy, twice), box_scores=np.array([record.score for record in twice]))
    people = people_of(COCO17, twice, {record.image_id: "" for record in twice})
    settings = small_config(f"evaluation.suppression={suppression}").evaluation
    kept = survivors(found, people, settings)
    assert len(kept) == left
    firsts = kept.person_scores[np.searchsorted(kept.image_ids, [record.image_id for record in RECORDS])]
    assert firsts.max() == 1
    if suppression == "soft":
        assert sorted(kept.person_scores)[:6] < [0.5] * 6
