"""The whole way on real photographs: COCO with annotated and with detected boxes, and MPII."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import TINY
from test_cli import posefabric_cli

FAST = ("--recipe", "smoke", *(word for key in TINY for word in ("--set", key)))

pytestmark = pytest.mark.real_data


def told(*arguments: str | Path) -> dict[str, Any]:
    """The figures of a command that must end well."""
    outcome = posefabric_cli(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.figures


def test_coco(real_data: Path, tmp_path: Path) -> None:
    mini, detected = real_data / "coco_mini", real_data / "coco_mmpose"
    files = {split: mini / f"person_keypoints_{split}.json" for split in ("train", "val")}
    data = tmp_path / "coco.yaml"
    data.write_text(f"images: {mini / 'images'}\ntrain: {files['train']}\nval: {files['val']}\n")
    with contextlib.chdir(tmp_path):
        told("search", data, *FAST, "--set", "search.batch_size=16", "--output", "searched")
        train = ("train", data, "--architecture", "searched", "--weights", "searched", *FAST)
        trained = told(*train, "--set", "train.batch_size=16", "--output", "trained")
        measured = told("evaluate", "trained", data, "--output", "annotated")
        file = ("--predictions", "annotated/keypoints.json", "--annotations", files["val"])
        again = {metric: told("evaluate", *file, "--metric", metric) for metric in ("oks", "pck")}
        boxes = detected / "test_coco_det_AP_H_56.json"
        four = tmp_path / "four.yaml"
        four.write_text(f"images: {detected}\ntrain: {files['train']}\nval: {detected / 'test_coco.json'}\n")
        found = told("evaluate", "trained", four, "--boxes", boxes, "--output", "detected")
        rows = json.loads(Path("detected/keypoints.json").read_text())
        scored = told(
            "evaluate",
            "--predictions",
            "detected/keypoints.json",
            "--annotations",
            detected / "test_coco.json",
            "--metric",
            "oks",
        )
    assert trained["boxes"] == measured["boxes"] == "ground-truth boxes"
    for figures in again.values():
        assert figures == {key: pytest.approx(measured[key], abs=1e-12) for key in figures}
    assert found["boxes"] == f"{len(json.loads(boxes.read_text()))} boxes of {boxes.name}"
    assert scored == {key: pytest.approx(found[key], abs=1e-12) for key in scored}
    assert 0 < len(rows) <= 4 * 20
    assert {row["image_id"] for row in rows} == {785, 40083, 196141, 197388}


def test_mpii(real_data: Path, tmp_path: Path) -> None:
    sample = real_data / "mpii" / "sample"
    with contextlib.chdir(tmp_path):
        told("data", "import", "mpii", sample / "test_mpii.json", "--images", sample, "--output", "mpii")
        told("search", "mpii/dataset.yaml", *FAST, "--set", "search.batch_size=2", "--output", "searched")
        measured = told("evaluate", "searched", "mpii/dataset.yaml", "--split", "train", "--output", "figures")
        file = ("--annotations", "mpii/train.json", "--metric", "pckh")
        again = [told("evaluate", "--predictions", f"figures/{name}", *file) for name in ("pred.mat", "keypoints.json")]
    assert {"PCKh@0.5", "PCKh@0.1", "PCKh@0.5_unweighted", "PCKh@0.11", "Ankle"} <= set(measured)
    for figures in again:
        assert figures == {key: pytest.approx(measured[key], abs=1e-9) for key in figures}
