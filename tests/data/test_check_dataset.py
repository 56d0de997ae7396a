"""`data check` on images and on datasets of several files."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from annotation_cases import DOCUMENT, TEXT, A, K, changed, saved

from posefabric.data.check import Request, check
from posefabric.data.sources import open_people
from posefabric.errors import UserError
from posefabric.settings import DataSettings


def pictures(folder: Path) -> Path:
    """The images of `DOCUMENT`."""
    (folder / "images" / "deep").mkdir(parents=True)
    for image in DOCUMENT["images"]:
        pixels = np.zeros((image["height"], image["width"], 3), np.uint8)
        PIL.Image.fromarray(pixels).save(folder / "images" / image["file_name"])
    return folder / "images"


def test_whole_images_of_the_right_size_are_fine(tmp_path: Path) -> None:
    pictures(tmp_path)
    found = check(saved(tmp_path, DOCUMENT))[0]
    assert (found.problems, found.noted(), found.looked_at) == ([], [], "2 persons, 2 images")


def test_38_sizes_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    folder = pictures(tmp_path)
    turned = PIL.Image.Exif()
    turned[274] = 6  # to be turned by 90 degrees
    PIL.Image.new("RGB", (48, 64)).save(folder / "a.png", exif=turned)
    assert check(saved(tmp_path, DOCUMENT))[0].problems == []
    document = changed("/images/0/width", 48, changed("/images/0/height", 64))
    (problem,) = check(saved(tmp_path, document))[0].problems
    assert (problem.code, problem.pointer, problem.image_id) == ("size-differs", "/images/0", 3)
    assert (problem.found, "width 64, height 48" in problem.expected) == ("width 48, height 64", True)
    assert "EXIF" in problem.fix


def test_images_that_cannot_be_read_are_told_once(tmp_path: Path) -> None:
    folder = pictures(tmp_path)
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[: len(whole) // 2])
    (folder / "deep" / "b.png").unlink()
    document = copy.deepcopy(DOCUMENT)
    document["images"].append({**document["images"][0], "id": 9})
    document["images"].append({**document["images"][1], "id": 10})
    told = check(saved(tmp_path, document))[0].problems
    assert [(p.code, p.pointer, p.image_id) for p in told] == [
        ("bad-image", "/images/0", 3),
        ("missing-file", "/images/1", 4),
    ]
    (folder / "a.png").write_bytes(whole)
    (folder / "deep" / "b.png").write_bytes(whole)
    told = check(saved(tmp_path, document))[0].problems
    assert [(p.code, p.pointer) for p in told] == [("size-differs", "/images/1"), ("size-differs", "/images/3")]


def test_files_are_left_as_they_are(tmp_path: Path) -> None:
    folder = pictures(tmp_path)
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[: len(whole) // 2])
    path = saved(tmp_path, DOCUMENT)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert check(path)[0].problems
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_wrong_folder_is_told_once(tmp_path: Path) -> None:
    (problem,) = check(saved(tmp_path, DOCUMENT), Request(images=tmp_path / "elsewhere"))[0].problems
    assert (problem.code, problem.pointer) == ("missing-file", "/images")
    assert "none of its 2 files" in problem.found
    assert "name their folder" in problem.fix


def test_30_the_true_size_counts_where_the_file_names_none(tmp_path: Path) -> None:
    pictures(tmp_path)
    document = changed("/images/0/width", ..., changed("/images/0/height", ..., changed(f"{K}/6", 95)))
    (problem,) = check(saved(tmp_path, document))[0].problems
    assert (problem.code, problem.pointer, problem.image_id) == ("keypoint-outside", f"{K}/6", 3)


def dataset(folder: Path, more: str = "") -> Path:
    for name in ("train", "val"):
        (folder / f"{name}.json").write_text(TEXT)
    path = folder / "data.yaml"
    path.write_text(f"images: images\ntrain: train.json\nval: val.json\n{more}")
    return path


def test_a_dataset_is_checked_with_all_its_files(tmp_path: Path) -> None:
    pictures(tmp_path)
    path = dataset(tmp_path)
    described, *files = check(path)
    assert [Path(findings.file).name for findings in files] == ["train.json", "val.json"]
    assert not any(findings.problems for findings in (described, *files))
    assert "images are in train.json and in val.json: 2" in described.noted()[0]
    (tmp_path / "val.json").write_text(json.dumps(changed(f"{A}/bbox")))
    (tmp_path / "train.json").unlink()
    described, val = check(path)
    assert [problem.pointer for problem in described.problems] == ["/train"]
    assert [problem.pointer for problem in val.problems] == [f"{A}/bbox"]


SKELETONS = {
    "limbs: [[nose, tail]]": ("limbs", "'tail'"),
    "mirror_pairs: [[left_eye, right_eye], [left_eye, nose]]": ("mirror_pairs", "two pairs"),
    "sigmas: [0.1, 0, 0.1]": ("sigmas", "holds 0"),
    "sigmas: [0.1]": ("sigmas", "1 entries"),
    "partitions: {mine: {eyes: [left_eye, right_eye]}}": ("partitions.mine", "leaves out nose"),
}


@pytest.mark.parametrize("field", SKELETONS)
def test_a_wrong_skeleton_names_file_and_field(field: str, tmp_path: Path) -> None:
    pictures(tmp_path)
    path = dataset(tmp_path, f"skeleton:\n  keypoints: [nose, left_eye, right_eye]\n  {field}\n")
    described, *_ = check(path)
    (problem,) = described.problems
    assert (problem.code, problem.file, problem.pointer) == ("bad-skeleton", str(path), "/skeleton")
    assert all(text in problem.found for text in SKELETONS[field])
    with pytest.raises(UserError) as caught:
        open_people(str(path), "train", DataSettings())
    assert str(path) in str(caught.value)
    assert SKELETONS[field][0] in str(caught.value)


def test_32_mirror_pairs_of_a_dataset_are_of_two_sides(tmp_path: Path) -> None:
    pictures(tmp_path)
    described = "skeleton:\n  keypoints: [nose, left_eye, right_eye]\n  mirror_pairs: [[left_eye, nose]]\n"
    (problem,) = check(dataset(tmp_path, described))[0].problems
    assert (problem.code, problem.pointer) == ("flip-pair-sides", "/skeleton/mirror_pairs/0")
    assert problem.found == '["left_eye", "nose"]'
