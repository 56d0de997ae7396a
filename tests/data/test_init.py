"""`data init`: what it writes is short, readable at once, and says what was guessed; nothing else is touched."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefabric import commands
from posefabric.data.guesses.description import Files, describe, yaml_text
from posefabric.data.sources import SPLITS, open_people
from posefabric.errors import UserError
from posefabric.settings import DataSettings
from posefabric.skeletons import COCO17, DEFAULT_SIGMA


def write(path: Path, keypoints: dict[str, list[str]], persons: int = 40, seed: int = 0, **category: object) -> Path:
    """A keypoint file: per category its names, and persons of all categories in turn, one image each."""
    rng = np.random.default_rng(seed)
    categories = [
        {"id": i, "name": name, "keypoints": names, **category} for i, (name, names) in enumerate(keypoints.items(), 1)
    ]
    annotations = []
    for number in range(1, persons + 1):
        chosen = categories[number % len(categories)]
        points = rng.uniform(10, 90, (len(chosen["keypoints"]), 2))
        triples = np.column_stack([points, rng.integers(1, 3, len(points))])
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": chosen["id"],
                "bbox": [10, 10, 80, 80],
                "area": 6400,
                "iscrowd": 0,
                "num_keypoints": len(points),
                "keypoints": triples.ravel().tolist(),
            }
        )
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 100} for i in range(1, persons + 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


HAND = ["wrist"] + [f"{finger}_{i}" for finger in ("thumb", "index", "middle", "ring", "little") for i in range(1, 5)]
COW = ["L_Eye", "R_Eye", "Nose", "L_F_Paw", "R_F_Paw", "L_B_Paw", "R_B_Paw", "TailBase", "Withers"]
WHOLE_BODY = [
    *COCO17.keypoints,
    *(f"face-{i}" for i in range(68)),
    *(f"{s}_hand_{i}" for s in ("left", "right") for i in range(24)),
]
KINDS = {
    "three": ["a", "b", "c"],
    "hand": HAND,
    "cow": COW,
    "whole body": WHOLE_BODY,
    "one": ["tip"],
    "coco": list(COCO17.keypoints),
}


@pytest.mark.parametrize("names", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("with_val", [False, True], ids=["one file", "with val"])
def test_twelve_lines_that_are_read_at_once(tmp_path: Path, names: list[str], with_val: bool) -> None:
    file = write(tmp_path / "data" / "people.json", {"thing": names}, persons=300)
    val = write(tmp_path / "data" / "val.json", {"thing": names}, persons=12) if with_val else None
    before = file.read_bytes()
    result = commands.init(file, val=val, output=tmp_path / "dataset.yaml")
    text = (tmp_path / "dataset.yaml").read_text()
    assert result.output == tmp_path / "dataset.yaml"
    assert len(text.splitlines()) <= 12
    assert file.read_bytes() == before
    found = describe(Files(file, val))
    for split in SPLITS[:2]:
        people = open_people(str(tmp_path / "dataset.yaml"), split, DataSettings())
        assert people.skeleton == found.skeleton
        assert people.skeleton.keypoints == tuple(names)
        assert people.record(0).image_path == str(tmp_path / "data" / f"{people.record(0).image_id}.jpg")
    for count in (min(3, len(names)), min(5, len(names))):
        assert {"1", f"graph{count}", f"learned{count}"} <= set(found.skeleton.partitions)


def test_guesses_are_marked_and_what_the_file_says_is_not(tmp_path: Path) -> None:
    file = write(tmp_path / "cow.json", {"cow": COW})
    lines = yaml_text(describe(Files(file)), Files(file), tmp_path).splitlines()
    marked = {line.split(":")[0].strip() for line in lines if line.endswith("confirm")}
    assert marked == {"mirror_pairs", "limbs", "sigmas", "partitions"}
    given_file = write(
        tmp_path / "given.json", {"cow": COW}, skeleton=[[1, 3]], flip_pairs=[["L_Eye", "R_Eye"]], sigmas=[0.1] * 9
    )
    found = describe(Files(given_file))
    lines = yaml_text(found, Files(given_file), tmp_path).splitlines()
    assert {line.split(":")[0].strip() for line in lines if line.endswith("confirm")} == {"partitions"}
    assert found.skeleton.limbs == (("L_Eye", "Nose"),)
    assert found.skeleton.mirror_pairs == (("L_Eye", "R_Eye"),)
    assert found.skeleton.sigmas == (0.1,) * 9


def test_what_a_cow_has_is_guessed(tmp_path: Path) -> None:
    found = describe(Files(write(tmp_path / "cow.json", {"cow": COW})))
    assert found.skeleton.mirror_pairs == (("L_Eye", "R_Eye"), ("L_F_Paw", "R_F_Paw"), ("L_B_Paw", "R_B_Paw"))
    assert found.unpaired == ("Nose", "TailBase", "Withers")
    assert len(found.skeleton.limbs) == len(COW) - 1
    assert found.skeleton.sigmas[:4] == (0.025, 0.025, 0.026, DEFAULT_SIGMA)


def test_a_known_skeleton_keeps_its_own_parts(tmp_path: Path) -> None:
    found = describe(
        Files(write(tmp_path / "people.json", {"person": list(COCO17.keypoints)})), ["random"], [4], seed=1
    )
    assert found.skeleton.sigmas == COCO17.sigmas
    assert {name: found.skeleton.partitions[name] for name in COCO17.partitions} == COCO17.partitions
    assert set(found.skeleton.partitions) == {*COCO17.partitions, "random4"}


def test_several_categories_ask_for_one(tmp_path: Path) -> None:
    file = write(tmp_path / "zoo.json", {"cow": COW, "hand": HAND})
    with pytest.raises(UserError, match=r"cow, hand.*name it: --category NAME"):
        commands.init(file, output=tmp_path / "dataset.yaml")
    commands.init(file, category="hand", output=tmp_path / "dataset.yaml")
    people = open_people(str(tmp_path / "dataset.yaml"), "train", DataSettings())
    assert people.skeleton.keypoints == tuple(HAND)
    only = json.loads(file.read_text())
    del only["categories"][0]["keypoints"]
    only["annotations"] = [a for a in only["annotations"] if a["category_id"] == 2]
    file.write_text(json.dumps(only))
    commands.init(file, output=tmp_path / "only.yaml")
    assert open_people(str(tmp_path / "only.yaml"), "train", DataSettings()).skeleton.keypoints == tuple(HAND)


def test_nothing_is_overwritten_and_bad_input_writes_nothing(tmp_path: Path) -> None:
    file, output = write(tmp_path / "cow.json", {"cow": COW}), tmp_path / "dataset.yaml"
    for wrong in ({"parts": ["grpah"]}, {"category": "dog"}, {"num_parts": [0]}, {"val": tmp_path / "none.json"}):
        with pytest.raises(UserError):
            commands.init(file, output=output, **wrong)
        assert not output.exists()
    other = write(tmp_path / "other.json", {"cow": COW[::-1]})
    with pytest.raises(UserError, match="L_Eye"):
        commands.init(file, val=other, output=output)
    output.write_text("mine")
    with pytest.raises(UserError) as caught:
        commands.init(file, output=output)
    assert caught.value.code == "not-writable"
    assert output.read_text() == "mine"


def test_too_few_persons_to_learn_from_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(tmp_path / "cow.json", {"cow": COW}, persons=50)
    with caplog.at_level(logging.WARNING):
        found = describe(Files(file), ["learned"])
    assert "too few to learn" in caplog.text
    assert "graph3" in found.skeleton.partitions


def test_missing_images_and_doubted_pairs_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["left_ear", "right_ear", "tail"]
    file = write(tmp_path / "cat.json", {"cat": names}, persons=60)
    document = json.loads(file.read_text())
    for annotation in document["annotations"]:
        annotation["keypoints"][1], annotation["keypoints"][4] = 12, 88  # one ear above, the other below
    file.write_text(json.dumps(document))
    with caplog.at_level(logging.WARNING):
        result = commands.init(file, output=tmp_path / "dataset.yaml")
    assert "is left_ear the mirror image of right_ear?" in caplog.text
    assert "60 of 60 images are not there" in caplog.text
    assert list(result.figures["doubts"]) == ["left_ear, right_ear"]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5, unique=True), st.text(min_size=1, max_size=6))
def test_names_of_any_kind_survive(tmp_path_factory: pytest.TempPathFactory, names: list[str], category: str) -> None:
    folder = tmp_path_factory.mktemp("names")
    file = write(folder / "f.json", {category: names}, persons=6)
    found = describe(Files(file, file))
    (folder / "dataset.yaml").write_text(yaml_text(found, Files(file, file), folder), encoding="utf-8")
    assert open_people(str(folder / "dataset.yaml"), "val", DataSettings()).skeleton == found.skeleton
