"""Leeds Sports Pose: both layouts of `joints.mat`, their flags, their splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from posefabric import commands
from posefabric.data import coco
from posefabric.data.imports.lsp import read_lsp
from posefabric.errors import UserError
from posefabric.skeletons import LSP14


def layers(number: int, seed: int = 0) -> np.ndarray:
    """x, y, flag of 14 keypoints, (N, 14, 3)."""
    rng = np.random.default_rng(seed)
    return np.dstack([rng.uniform(1, 150, (number, 14, 2)), rng.random((number, 14)) < 0.8])


def saved(folder: Path, joints: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    savemat(folder / "joints.mat", {"joints": joints})
    return folder / "joints.mat"


def test_the_flag_means_occluded_in_lsp_and_labelled_in_the_extended_set(tmp_path: Path) -> None:
    labels = layers(5)
    for joints, values in ((labels.transpose(2, 1, 0), (2, 1)), (labels.transpose(1, 2, 0), (0, 2))):
        for person, label in zip(read_lsp(saved(tmp_path, joints)), labels, strict=True):
            np.testing.assert_array_equal(person.visibility, np.where(label[:, 2] == 1, values[1], values[0]))
            labelled = person.visibility > 0
            np.testing.assert_array_equal(person.keypoints_xy, np.where(labelled[:, None], label[:, :2], 0))
            low, high = label[labelled, :2].min(axis=0), label[labelled, :2].max(axis=0)
            grown = 0.1 * (high - low).max()
            np.testing.assert_allclose(person.bbox_xyxy, [*(low - grown), *(high + grown)])


def test_lsp_is_split_in_halves(tmp_path: Path) -> None:
    saved(tmp_path / "lsp", layers(2000).transpose(2, 1, 0))
    (tmp_path / "lsp" / "images").mkdir()
    (tmp_path / "lsp" / "images" / "im0001.jpg").touch()
    result = commands.import_("lsp", tmp_path / "lsp", output=tmp_path / "out")
    assert result.figures == {name: {"images": 1000, "persons": 1000} for name in ("train", "val")}
    train, val = (coco.load(tmp_path / "out" / f"{name}.json", tmp_path) for name in ("train", "val"))
    assert train.skeleton is LSP14
    assert [Path(people.record(0).image_path).name for people in (train, val)] == ["im0001.jpg", "im1001.jpg"]
    assert 'images: "../lsp/images"' in (tmp_path / "out" / "dataset.yaml").read_text()


def test_of_the_extended_set_every_tenth_is_for_validation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Names come from the folder; a person without a keypoint stays annotated, but is nobody to learn from."""
    labels = layers(20)
    labels[3, :, 2] = 0
    joints = saved(tmp_path, labels.transpose(1, 2, 0))
    for number in range(1, 21):
        (tmp_path / f"im{number:05d}.png").touch()
    result = commands.import_("lsp", joints, output=tmp_path / "out")
    assert "every tenth of 20 is taken" in caplog.text
    assert result.figures == {"train": {"images": 18, "persons": 17}, "val": {"images": 2, "persons": 2}}
    val = coco.load(tmp_path / "out" / "val.json", tmp_path)
    assert [Path(person.image_path).name for person in val.persons] == ["im00001.png", "im00011.png"]


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (np.zeros((3, 15, 4)), "joints has shape (3, 15, 4); allowed: (3, 14, N) or (14, 3, N)"),
        (np.zeros((14, 3)), "joints has shape (14, 3)"),
        (np.full((3, 14, 2), 2.0), "the flag of person 1, keypoint 1, is 2.0; allowed: 0 or 1"),
        (np.where(np.arange(3)[:, None, None] == 0, np.nan, np.zeros((3, 14, 2))), "person 1, keypoint 1, are [nan"),
    ],
)
def test_broken_joints_are_refused_by_place(joints: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        commands.import_("lsp", saved(tmp_path, joints), output=tmp_path / "out")
    assert message in str(caught.value)
    assert caught.value.code == "bad-annotation"


def test_options_of_mpii_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--validation or --heads with the format lsp"):
        commands.import_("lsp", tmp_path, heads=tmp_path / "gt_valid.mat")
