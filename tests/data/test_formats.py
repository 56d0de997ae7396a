"""`data import coco`: a YAML over files that stay where they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posefabric import commands
from posefabric.config import DataSettings
from posefabric.data.sources import open_people
from posefabric.errors import UserError


@pytest.fixture
def synthetic(tmp_path: Path) -> Path:
    commands.synthesize(count=6, output=tmp_path / "synthetic")
    return tmp_path / "synthetic"


def laid_out(folder: Path, synthetic: Path, images: str) -> Path:
    """The folders of COCO 2017, of synthetic people."""
    (folder / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        text = (synthetic / "annotations.json").read_text()
        (folder / "annotations" / f"person_keypoints_{split}.json").write_text(text)
        (folder / images).mkdir(exist_ok=True)
        (folder / images / split).symlink_to(synthetic / "images")
    return folder


@pytest.mark.parametrize("images", [".", "images"])
def test_the_folders_of_coco_become_a_dataset(images: str, tmp_path: Path, synthetic: Path) -> None:
    source = laid_out(tmp_path / "coco", synthetic, images)
    result = commands.import_("coco", source, output=tmp_path / "out" / "deep")
    assert result.figures == {name: {"images": 6, "persons": 6} for name in ("train", "val")}
    assert [file.name for file in (tmp_path / "out" / "deep").iterdir()] == ["dataset.yaml"]
    for split in ("train", "val"):
        people = open_people(str(result.output), split, DataSettings())
        assert len(people) == 6
        assert people.image(0).ndim == 3
    with pytest.raises(UserError, match=r"dataset\.yaml exists"):
        commands.import_("coco", source, output=tmp_path / "out" / "deep")


def test_one_json_becomes_a_dataset_that_is_split_by_image(tmp_path: Path, synthetic: Path) -> None:
    result = commands.import_("coco", synthetic / "annotations.json", output=tmp_path / "out")
    people = [open_people(str(result.output), split, DataSettings()) for split in ("train", "val", "test")]
    assert sum(map(len, people)) == 6
    assert people[0].image(0).ndim == 3


def test_what_is_missing_is_named(tmp_path: Path, synthetic: Path) -> None:
    source = laid_out(tmp_path / "coco", synthetic, "images")
    (source / "images" / "val2017").unlink()
    with pytest.raises(UserError, match="lack the folder val2017") as caught:
        commands.import_("coco", source, output=tmp_path / "out")
    assert caught.value.code == "missing-file"
    (source / "images" / "val2017").mkdir()
    (source / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps({"images": []}))
    with pytest.raises(UserError) as caught:
        commands.import_("coco", source, output=tmp_path / "out")
    assert caught.value.code == "bad-annotation"
    (source / "annotations" / "person_keypoints_train2017.json").unlink()
    with pytest.raises(UserError, match="person_keypoints_train2017") as caught:
        commands.import_("coco", source, output=tmp_path / "out")
    assert caught.value.code == "missing-file"
    assert not (tmp_path / "out").exists()
