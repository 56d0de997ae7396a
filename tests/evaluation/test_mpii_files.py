"""MPII's files of ground truth and predictions: the published table, a way there and back, and broken files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from posefabric.errors import UserError
from posefabric.evaluation.mpii import read_mpii_predictions, read_mpii_truth, write_mpii_predictions
from posefabric.evaluation.pck import PCKH_GROUPS, pckh
from posefabric.skeletons import MPII16

NAMES = (
    "rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head", "rwri", "relb", "rsho", "lsho",
    "lelb", "lwri",
)  # fmt: skip


def truth(seed: int = 0, number: int = 3, order: list[int] | None = None) -> dict[str, Any]:
    """The variables of a ground truth file; `order` says which keypoint stands where."""
    rng = np.random.default_rng(seed)
    order = order or list(range(16))
    missing = rng.random((16, number)) < 0.2
    corner = rng.uniform(1, 400, (2, number))
    return {
        "dataset_joints": np.array([[NAMES[k] for k in order]], dtype=object),
        "jnt_missing": missing.astype(float)[order],
        "pos_gt_src": np.where(missing[:, None], 0.0, rng.uniform(1, 500, (16, 2, number)))[order],
        "headboxes_src": np.stack([corner, corner + rng.uniform(10, 90, (2, number))]),
    }


def saved(folder: Path, variables: dict[str, Any], name: str = "gt_valid.mat") -> Path:
    savemat(folder / name, variables)
    return folder / name


def slow_pckh(fields: dict[str, Any], predicted: np.ndarray, threshold: float) -> float:
    """PCKh over all labelled keypoints together, from the file's own 1-based fields, in plain loops."""
    right = labelled = 0
    for person in range(len(predicted)):
        (x1, y1), (x2, y2) = fields["headboxes_src"][:, :, person]
        head = 0.6 * ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        for k, name in enumerate(NAMES):
            if name in ("pelv", "thor") or fields["jnt_missing"][k, person]:
                continue
            x, y = fields["pos_gt_src"][k, :, person]
            labelled += 1
            right += (
                (predicted[person, k, 0] - x) ** 2 + (predicted[person, k, 1] - y) ** 2
            ) ** 0.5 / head <= threshold
    return 100 * right / labelled


def test_pckh_through_files_equals_a_plain_loop_on_a_thousand_sets(tmp_path: Path) -> None:
    for seed in range(1000):
        fields = truth(seed, number=2 + seed % 3)
        rng = np.random.default_rng(seed)
        predicted = fields["pos_gt_src"].transpose(2, 0, 1) + rng.normal(0, 20, (2 + seed % 3, 16, 2))
        write_mpii_predictions(tmp_path / "pred.mat", predicted - 1)
        records = read_mpii_truth(saved(tmp_path, fields))
        result = pckh(records, read_mpii_predictions(tmp_path / "pred.mat"), MPII16)
        for threshold in (0.5, 0.1, 0.11):
            expected = slow_pckh(fields, predicted, threshold)
            assert result[f"PCKh@{threshold}"] == pytest.approx(expected, abs=1e-12)


def test_the_ground_truth_is_0_based_and_in_mpiis_order(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(16).tolist()
    in_order, shuffled = read_mpii_truth(saved(tmp_path, truth())), read_mpii_truth(saved(tmp_path, truth(order=order)))
    fields = truth()
    for row, (record, same) in enumerate(zip(in_order, shuffled, strict=True)):
        labelled = record.visibility == 2
        np.testing.assert_array_equal(labelled, fields["jnt_missing"][:, row] == 0)
        np.testing.assert_allclose(record.keypoints_xy[labelled], fields["pos_gt_src"][labelled, :, row] - 1)
        np.testing.assert_array_equal(record.keypoints_xy[~labelled], 0)
        np.testing.assert_array_equal(record.keypoints_xy, same.keypoints_xy)
        np.testing.assert_array_equal(record.visibility, same.visibility)
        np.testing.assert_array_equal(record.bbox_xyxy[:2], record.keypoints_xy[labelled].min(axis=0))
        assert record.annotation_id == row + 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 5))
def test_predictions_come_back(tmp_path_factory: pytest.TempPathFactory, seed: int, number: int) -> None:
    keypoints_xy = np.random.default_rng(seed).uniform(-50, 2000, (number, 16, 2))
    path = tmp_path_factory.mktemp("predictions") / "pred.mat"
    write_mpii_predictions(path, keypoints_xy)
    np.testing.assert_allclose(read_mpii_predictions(path), keypoints_xy, atol=1e-9)
    np.testing.assert_array_equal(loadmat(path)["preds"], keypoints_xy + 1)
    first = path.read_bytes()
    write_mpii_predictions(path, keypoints_xy)
    assert path.read_bytes() == first


def test_tompsons_predictions_have_the_published_pckh(real_data: Path) -> None:
    """The ground truth file carries predictions of its own; the reader must not mix them up."""
    path = real_data / "mpii" / "annot" / "gt_valid.mat"
    records = read_mpii_truth(path)
    result = pckh(records, loadmat(path)["pos_pred_src"].transpose(2, 0, 1) - 1, MPII16)
    figures = json.loads((real_data / "mpii" / "predictions" / "expected_pckh.json").read_text())
    ours = " ".join(f"{result[group]:.2f}" for group in PCKH_GROUPS)
    assert f"scores {ours}, mean {result['PCKh@0.5_unweighted']:.2f}" in figures["tompson_in_gt_valid"]


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in truth().items() if key != name}


def changed(name: str, change: Callable[[np.ndarray], object]) -> dict[str, Any]:
    fields = truth()
    change(fields[name])
    return fields


def put(place: tuple[int, ...], value: object) -> Callable[[np.ndarray], object]:
    return lambda array: array.__setitem__(place, value)


BROKEN_TRUTH = {
    "no names": (without("dataset_joints"), "dataset_joints is missing"),
    "unknown name": (changed("dataset_joints", put((0, 3), "nose")), "dataset_joints is rank, rkne, rhip, nose"),
    "no positions": (without("pos_gt_src"), "no variable 'pos_gt_src' (it has dataset_joints"),
    "text": ({**truth(), "jnt_missing": "none"}, "jnt_missing holds no numbers"),
    "another count": ({**truth(), "jnt_missing": np.zeros((16, 2))}, "jnt_missing has shape (16, 2); allowed: (16, 3)"),
    "15 keypoints": ({**truth(), "pos_gt_src": np.zeros((15, 2, 3))}, "pos_gt_src has shape (15, 2, 3)"),
    "NaN": (
        {**truth(), "jnt_missing": np.zeros((16, 3)), "pos_gt_src": np.full((16, 2, 3), np.nan)},
        "pos_gt_src of person 0 (right_ankle) is [nan, nan]",
    ),
    "no head": (
        changed("headboxes_src", lambda boxes: boxes.__setitem__((slice(None), slice(None), 1), 5)),
        "headboxes_src of person 1 gives a head size of 0",
    ),
}


@pytest.mark.parametrize("case", BROKEN_TRUTH)
def test_broken_ground_truth_is_refused_by_place(case: str, tmp_path: Path) -> None:
    variables, message = BROKEN_TRUTH[case]
    with pytest.raises(UserError) as caught:
        read_mpii_truth(saved(tmp_path, variables))
    assert message in str(caught.value)
    assert caught.value.code == "bad-annotation"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"pred": np.zeros((2, 16, 2))}, "no variable 'preds' (it has pred)"),
        ({"preds": np.zeros((2, 17, 2))}, "preds has shape (2, 17, 2); allowed: (persons, 16, 2)"),
        ({"preds": np.full((1, 16, 2), np.inf)}, "preds of person 0 (right_ankle) is [inf, inf]"),
        ({"preds": np.array([["a"]], dtype=object)}, "preds holds no numbers"),
    ],
)
def test_broken_predictions_are_refused_by_place(variables: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_mpii_predictions(saved(tmp_path, variables))
    assert message in str(caught.value)
    assert caught.value.code == "bad-prediction"


def test_files_cut_anywhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist") as caught:
        read_mpii_predictions(tmp_path / "none.mat")
    assert caught.value.code == "missing-file"
    whole = saved(tmp_path, {"preds": np.zeros((40, 16, 2))}).read_bytes()
    path = tmp_path / "cut.mat"
    for size in (0, 1, 60, 127, 128, 130, 150, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError) as caught:
            read_mpii_predictions(path)
        assert caught.value.code == "bad-prediction"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(99))
    with pytest.raises(UserError, match="save with -v7"):
        read_mpii_predictions(path)


def test_predictions_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    predicted = np.zeros((2, 16, 2))
    predicted[1, 9, 0] = np.nan
    with pytest.raises(UserError, match=r"person 1 \(head_top\)"):
        write_mpii_predictions(tmp_path / "pred.mat", predicted)
    assert not any(tmp_path.iterdir())
