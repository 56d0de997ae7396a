"""`data import coco`: a YAML over files that stay where they are; and what `docs/datasets.md` tells people to type."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from posefabric import cli, commands
from posefabric.config import Config
from posefabric.data.downloads import download
from posefabric.data.sources import DatasetFile, open_evaluated, open_people
from posefabric.errors import UserError
from posefabric.settings import DataSettings
from posefabric.skeletons import COCO17, skeleton_from_data

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"


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


def test_the_images_of_test_dev_become_the_test_split(tmp_path: Path, synthetic: Path) -> None:
    """COCO's file for them has no annotations, and its categories no keypoints."""
    source = laid_out(tmp_path / "coco", synthetic, ".")
    images = json.loads((synthetic / "annotations.json").read_text())["images"]
    names = {"images": images, "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]}
    (source / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps(names))
    (source / "test2017").symlink_to(synthetic / "images")
    result = commands.import_("coco", source, output=tmp_path / "out")
    assert result.figures["test"] == {"images": 6, "persons": 0}
    test, _ = open_evaluated(str(result.output), "test", Config())
    assert (test.skeleton, len(test.truth().image_ids)) == (COCO17, 6)
    assert len(open_people(str(result.output), "val", DataSettings())) == 6


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


def test_the_page_shows_commands_that_exist_and_keys_that_are_read() -> None:
    text = PAGE.read_text()
    group: Any = typer.main.get_command(cli.build())
    shown = [shlex.split(line)[1:] for line in re.findall(r"posefabric data [a-z][^`\n]*", text)]
    assert len(shown) >= 8
    for _, name, *arguments in shown:
        command = group.commands["data"].commands[name]
        if arguments:
            command.make_context(name, list(arguments))
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    keys = yaml.safe_load(example)
    assert {*keys, "annotations"} == set(DatasetFile.__dataclass_fields__)
    assert skeleton_from_data(keys.pop("skeleton"), where="page").num_keypoints == 3


def test_the_page_lists_every_archive_with_its_checksum() -> None:
    lines = PAGE.read_text().splitlines()
    for archive in (archive for archives in download.ARCHIVES.values() for archive in archives):
        row = re.compile(rf"\| `([a-z]+/)?{re.escape(archive.remote.name)}` \| {archive.part} \|")
        (line,) = filter(row.match, lines)
        assert archive.remote.md5 is None or f"`{archive.remote.md5}`" in line
        assert archive.remote.size is None or f"| {archive.remote.size:,} |" in line
