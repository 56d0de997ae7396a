"""`data import mpii`: the field's split, ids and head sizes from every source; nothing replaced, nothing unsaid."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpii_files import hourglass, hrnet, persons, release, write_json, write_release, write_truth
from scipy.io import savemat

from posefabric import commands
from posefabric.data import coco
from posefabric.data.imports.mpii import read_mpii
from posefabric.data.imports.mpii_splits import split_persons
from posefabric.errors import UserError
from posefabric.evaluation.mpii import read_mpii_predictions
from posefabric.evaluation.pck import pckh
from posefabric.skeletons import MPII16


def test_every_source_gives_the_fields_split(tmp_path: Path) -> None:
    """One folder of each form, and each with its truth: the same persons in the same order under the same ids."""
    people = persons()
    train, val = ([person for person in people if person["validation"] == flag] for flag in (False, True))
    order = [val[2], val[0], val[3], val[1]]
    valid = write_json(tmp_path / "valid.json", [hrnet(person) for person in order])
    truth = write_truth(tmp_path / "gt_valid.mat", order)
    sources = {name: tmp_path / name / "annot" for name in ("hrnet", "hourglass", "release")}
    for folder in sources.values():
        folder.mkdir(parents=True)
    write_json(sources["hrnet"] / "train.json", [hrnet(person) for person in train])
    write_json(sources["hrnet"] / "valid.json.gz", [hrnet(person) for person in order])
    write_json(sources["hourglass"] / "mpii_annotations.json.gz", [hourglass(person) for person in people])
    struct = release([*people, {**val[0], "centre": [3.0, 4.0]}], np.random.default_rng(2))
    write_release(sources["release"] / "mpii_human_pose_v1_u12_1.mat", struct)
    found = {}
    for name in sources:
        before = {file: file.read_bytes() for file in (tmp_path / name).rglob("*") if file.is_file()}
        options = {} if name == "hrnet" else {"validation": valid}
        result = commands.import_("mpii", tmp_path / name, heads=truth, output=tmp_path / f"{name}_out", **options)
        assert result.output == tmp_path / f"{name}_out" / "dataset.yaml"
        assert {file: file.read_bytes() for file in before} == before
        found[name] = [
            coco.load(tmp_path / f"{name}_out" / f"{split}.json").truth().persons for split in ("train", "val")
        ]
        assert [len(part) for part in found[name]] == [len(train), len(order)]
        for records, part in zip(found[name], (train, order), strict=True):
            for row, (record, person) in enumerate(zip(records, part, strict=True)):
                labelled = person["visibility"] > 0
                np.testing.assert_array_equal(record.visibility > 0, labelled)
                np.testing.assert_allclose(record.keypoints_xy[labelled], person["points"][labelled] - 1)
                assert record.annotation_id == row + 1
                assert Path(record.image_path).name == person["image"]
        for record, person in zip(found[name][1], order, strict=True):
            x1, y1, x2, y2 = person["head"]
            assert record.head_size == pytest.approx(0.6 * np.hypot(x2 - x1, y2 - y1))
    assert result.figures["test"] == {"images": 1, "persons": 1}


def test_without_a_split_a_tenth_is_drawn_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    people = [person | {"image": f"{i}.jpg"} for seed in range(5) for i, person in enumerate(persons(seed), 12 * seed)]
    source = write_json(tmp_path / "all.json", [hrnet(person) for person in people])
    splits = split_persons(read_mpii({source: None}))
    assert "not the field's split" in caplog.text
    assert (len(splits["train"]), len(splits["val"])) == (54, 6)
    again = split_persons(read_mpii({source: None})[::-1])
    assert {person.image for person in splits["val"]} == {person.image for person in again["val"]}


def test_nothing_is_replaced(tmp_path: Path) -> None:
    source = write_json(tmp_path / "mpii_annotations.json", [hourglass(person) for person in persons()])
    commands.import_("mpii", source, output=tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(before) == ["dataset.yaml", "mpii_annotations.json", "train.json", "val.json"]
    (tmp_path / "train.json").unlink()
    with pytest.raises(UserError, match=r"val\.json exists") as caught:
        commands.import_("mpii", source, output=tmp_path)
    assert caught.value.code == "not-writable"
    assert {file.name for file in tmp_path.iterdir()} == set(before) - {"train.json"}


def test_images_are_found_and_missing_ones_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "annot").mkdir()
    (tmp_path / "images").mkdir()
    people = persons()
    source = write_json(tmp_path / "annot" / "mpii_annotations.json", [hourglass(person) for person in people])
    for person in people[2:]:
        (tmp_path / "images" / person["image"]).touch()
    commands.import_("mpii", source, output=tmp_path / "out")
    assert f"1 of 6 images are not in {tmp_path / 'images'}: {people[0]['image']}" in caplog.text
    assert 'images: "../images"' in (tmp_path / "out" / "dataset.yaml").read_text()
    with pytest.raises(UserError, match="has none of the 6 images") as caught:
        commands.import_("mpii", source, images=tmp_path / "annot", output=tmp_path / "other")
    assert caught.value.code == "missing-file"


def test_a_0_based_list_is_noticed(tmp_path: Path) -> None:
    def shift(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "joints": (np.array(entry["joints"]) - 1).tolist()} for entry in entries]

    shifted = write_json(tmp_path / "shifted.json", shift([hrnet(person) for person in persons()]))
    with pytest.raises(UserError, match=r"shifted\.json\[0\] has an unlabelled keypoint .* counted from 0"):
        read_mpii({shifted: None})
    whole = [person | {"visibility": np.full(16, 2)} for person in persons()]
    people = [person for person in whole if person["validation"]]
    lists = tmp_path / "lists"
    lists.mkdir()
    write_json(lists / "train.json", [hrnet(person) for person in whole if not person["validation"]])
    write_json(lists / "valid.json", shift([hrnet(person) for person in people]))
    truth = write_truth(tmp_path / "gt_valid.mat", people)
    with pytest.raises(UserError, match="all 1 px left of and above the ground truth"):
        commands.import_("mpii", lists, heads=truth, output=tmp_path / "out")
    centres = [hrnet(person) | {"center": [value - 1 for value in person["centre"]]} for person in people]
    valid = write_json(tmp_path / "valid.json", centres)
    whole_list = write_json(tmp_path / "mpii_annotations.json", [hourglass(person) for person in whole])
    with pytest.raises(UserError, match="1 px from one: are its pixels counted from 0"):
        commands.import_("mpii", whole_list, validation=valid, output=tmp_path / "out")


def test_the_truth_of_other_persons_is_refused(tmp_path: Path) -> None:
    source = write_json(tmp_path / "mpii_annotations.json", [hourglass(person) for person in persons()])
    val = [person for person in persons() if person["validation"]]
    other = write_truth(tmp_path / "other.mat", [val[1], val[0], *val[2:]])
    with pytest.raises(UserError, match=r"mpii_annotations\.json\[4\]: shares no keypoint"):
        commands.import_("mpii", source, heads=other, output=tmp_path / "out")
    fewer = write_truth(tmp_path / "fewer.mat", val[1:])
    with pytest.raises(UserError, match="3 persons, the validation split 4"):
        commands.import_("mpii", source, heads=fewer, output=tmp_path / "out")


def test_what_is_no_annotation_of_mpii_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no annotations of MPII.*train\.json and valid\.json"):
        commands.import_("mpii", tmp_path, output=tmp_path / "out")
    for name, content in (("a.json", b"{"), ("b.json", b"[1]"), ("c.json.gz", b"[]"), ("d.json", b"[]")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as caught:
            commands.import_("mpii", tmp_path / name, output=tmp_path / "out")
        assert caught.value.code == "bad-annotation"
    savemat(tmp_path / "e.mat", {"RELEASE": np.zeros(3)})
    with pytest.raises(UserError, match="no struct RELEASE"):
        commands.import_("mpii", tmp_path / "e.mat", output=tmp_path / "out")
    with pytest.raises(UserError, match="did you mean 'mpii'") as caught:
        commands.import_("mpi", tmp_path, output=tmp_path / "out")
    assert caught.value.code == "unknown-name"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_real_annotations(real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """22,246 and 2,958 persons; PCKh of published predictions on the imported persons is the published one."""
    annot = real_data / "mpii" / "annot"
    with caplog.at_level(logging.INFO):
        result = commands.import_(
            "mpii", annot / "mpii_annotations.json.gz", heads=annot / "gt_valid.mat", output=tmp_path / "mpii"
        )
    assert result.figures == {
        "train": {"images": 14679, "persons": 22246},
        "val": {"images": 2729, "persons": 2958},
    }
    assert "13 keypoints for validation are placed as in the ground truth" in caplog.text
    people = coco.load(tmp_path / "mpii" / "val.json")
    assert people.skeleton is MPII16
    predictions = read_mpii_predictions(real_data / "mpii" / "predictions" / "bearpaw-hg_s2_b1.mat")
    figures = json.loads((real_data / "mpii" / "predictions" / "expected_pckh.json").read_text())
    assert pckh(people.persons, predictions, MPII16)["PCKh@0.5"] == pytest.approx(
        figures["computed"]["bearpaw-hg_s2_b1.mat"]["Mean_weighted_hrnet"], abs=5e-5
    )
