"""Prediction: a run folder opens alone, boxes become poses of the image, and what does not fit is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import lively_net, small_config, small_people, small_supernet

import posefabric
from posefabric.checkpoints import load_tensors, save_tensors
from posefabric.data.images import write_image
from posefabric.engine.evaluate import predict_people
from posefabric.engine.search import search
from posefabric.errors import UserError
from posefabric.models.net import PoseNet
from posefabric.predictor import Poses, Predictor, load
from posefabric.runs import Run
from posefabric.skeletons import COCO17

CONFIG = small_config("evaluation.batch_size=2")
VAL = small_people(6, seed=1)
IMAGE = VAL.image(0)
BOXES = [[4, 2, 40, 60], [0, 0, 47, 63], [-10, 20.5, 30, 90]]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Run.start(tmp_path_factory.mktemp("first") / "run", "search", CONFIG.data_form(), {})
    search(run, CONFIG, small_supernet(CONFIG), small_people(), VAL)
    return run.path


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    """The run folder in another place, for tests that damage it."""
    return Path(shutil.copytree(searched, tmp_path / "moved"))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(lively_net(CONFIG), CONFIG)


def test_a_run_folder_opens_alone(searched: Path, tmp_path: Path) -> None:
    expected = predict_people(load(searched).net, VAL, CONFIG)
    moved = Path(shutil.move(searched, tmp_path / "elsewhere"))
    try:
        predictor = posefabric.load(str(moved))
    finally:
        shutil.move(moved, searched)
    assert type(predictor.net) is PoseNet
    assert not any(module.training for module in predictor.net.modules())
    assert predictor.net.architecture == Run(searched).architecture()
    assert predictor.config == CONFIG
    assert predictor.skeleton == COCO17
    assert list(predictor.net.architecture_parameters()) == []
    found = predict_people(predictor.net, VAL, predictor.config)
    np.testing.assert_array_equal(found.keypoints_xy, expected.keypoints_xy)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_boxes_give_what_evaluation_gives(predictor: Predictor) -> None:
    expected = predict_people(predictor.net, VAL, CONFIG)
    for index in range(len(VAL)):
        poses = predictor.predict(VAL.image(index), [VAL.record(index).bbox_xyxy])
        np.testing.assert_allclose(poses.xy[0], expected.keypoints_xy[index], atol=1e-3)
        np.testing.assert_allclose(poses.score[0], expected.scores[index], atol=1e-5)


def test_boxes_are_answered_one_by_one_in_their_order(predictor: Predictor) -> None:
    together = predictor.predict(IMAGE, BOXES)
    assert len(together) == 3
    assert together.xy.shape == (3, 17, 2)
    assert together.box.tolist() == BOXES
    assert np.isfinite(together.xy).all()
    assert ((together.score >= 0) & (together.score < 1)).all()
    for index, box in enumerate(BOXES):
        alone = predictor.predict(IMAGE, [box])
        np.testing.assert_allclose(together.xy[index], alone.xy[0], atol=1e-3)
        np.testing.assert_allclose(together.score[index], alone.score[0], atol=1e-5)


def test_without_boxes_the_whole_image_is_one(predictor: Predictor) -> None:
    poses = predictor.predict(IMAGE)
    assert poses.box.tolist() == [[0, 0, 48, 64]]
    np.testing.assert_array_equal(poses.xy, predictor.predict(IMAGE, poses.box).xy)


def test_no_boxes_are_no_poses(predictor: Predictor) -> None:
    poses = predictor.predict(IMAGE, [])
    assert len(poses) == 0
    assert poses.to_coco() == []
    np.testing.assert_array_equal(poses.plot(), IMAGE)


def test_a_file_is_read(predictor: Predictor, tmp_path: Path) -> None:
    write_image(tmp_path / "photo.png", IMAGE)
    for path in (tmp_path / "photo.png", str(tmp_path / "photo.png")):
        np.testing.assert_array_equal(predictor.predict(path).xy, predictor.predict(IMAGE).xy)
    with pytest.raises(UserError, match=r"none\.png does not exist"):
        predictor.predict(tmp_path / "none.png")


def test_predicting_changes_neither_image_nor_net(predictor: Predictor) -> None:
    image, state = IMAGE.copy(), {name: tensor.clone() for name, tensor in predictor.net.state_dict().items()}
    predictor.predict(image, BOXES).plot(0)
    np.testing.assert_array_equal(image, IMAGE)
    assert all(torch.equal(tensor, state[name]) for name, tensor in predictor.net.state_dict().items())


def test_poses_draw_what_is_sure_enough() -> None:
    xy = np.tile(np.linspace(5, 40, 17)[:, None], (1, 1, 2))
    poses = Poses(COCO17, IMAGE, xy, np.full((1, 17), 0.5), np.zeros((1, 4)))
    drawn = poses.plot()
    assert drawn.shape == IMAGE.shape
    assert drawn.dtype == np.uint8
    assert (drawn != IMAGE).any()
    np.testing.assert_array_equal(poses.plot(0.6), IMAGE)


def test_poses_become_coco_results(predictor: Predictor) -> None:
    poses = predictor.predict(IMAGE, BOXES)
    results = json.loads(json.dumps(poses.to_coco(image_id=7)))
    assert [result["image_id"] for result in results] == [7, 7, 7]
    triplets = np.array([result["keypoints"] for result in results]).reshape(3, 17, 3)
    np.testing.assert_allclose(triplets[..., :2], poses.xy)
    np.testing.assert_allclose(triplets[..., 2], poses.score)


@pytest.mark.parametrize("name", ["run.json", "architecture.json", "weights.safetensors"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load(run)


@pytest.mark.parametrize(
    ("name", "code"),
    [("run.json", "bad-run"), ("architecture.json", "bad-architecture"), ("weights.safetensors", "bad-weights")],
)
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe"])
def test_a_damaged_file_is_named(run: Path, name: str, code: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")) as caught:
        load(run)
    assert caught.value.code == code


def test_weights_that_do_not_fit_are_refused_by_name(run: Path) -> None:
    file = run / "weights.safetensors"
    weights = load_tensors(file)
    name = "backbone.stem.0.weight"
    save_tensors(file, {**weights, name: weights[name][:, :2]})
    with pytest.raises(UserError, match=rf"{name} has the shape \(64, 2, 3, 3\); allowed: \(64, 3, 3, 3\)") as caught:
        load(run)
    assert caught.value.code == "bad-weights"
    save_tensors(file, {key: tensor for key, tensor in weights.items() if key != name})
    with pytest.raises(UserError, match=f"no tensor {name}"):
        load(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run\.json") as caught:
        load(tmp_path / "none")
    assert caught.value.code == "bad-run"
