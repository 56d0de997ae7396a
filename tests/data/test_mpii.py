"""MPII's annotations in every form they come in: one set of persons, written in each, is read back the same."""

from __future__ import annotations

import copy
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from posefabric import commands
from posefabric.data import coco
from posefabric.data.mpii import read_mpii
from posefabric.data.mpii_person import MpiiPerson
from posefabric.data.mpii_release import read_release
from posefabric.data.mpii_splits import split_persons
from posefabric.errors import UserError
from posefabric.evaluation.mpii import read_mpii_predictions
from posefabric.evaluation.pck import pckh
from posefabric.geometry import crop_matrix, invert, transform_points
from posefabric.skeletons import MPII16


def persons(seed: int = 0) -> list[dict[str, Any]]:
    """Persons in pixels counted from 1, two of every three on images for training; visibility as in COCO."""
    rng = np.random.default_rng(seed)
    return [
        {
            "image": f"{7 * (i // 2) + 100:09d}.jpg",
            "centre": [round(float(value), 3) for value in rng.uniform(50, 500, 2)],
            "scale": round(float(rng.uniform(0.5, 5)), 3),
            "points": rng.integers(2, 900, (16, 2)).astype(float),
            "visibility": np.where(np.arange(16) == i % 16, 2, rng.choice([0, 1, 2, 2], 16)),
            "head": rng.uniform(10, 90, 4),
            "validation": (i // 2) % 3 == 2,
        }
        for i in range(12)
    ]


def hrnet(person: dict[str, Any]) -> dict[str, Any]:
    """HRNet's lists know labelled or not, and put what is not at (-1, -1)."""
    labelled = person["visibility"] > 0
    return {
        "image": person["image"],
        "center": person["centre"],
        "scale": person["scale"],
        "joints": np.where(labelled[:, None], person["points"], -1).tolist(),
        "joints_vis": labelled.astype(int).tolist(),
    }


def hourglass(person: dict[str, Any]) -> dict[str, Any]:
    """The hourglass list has a flag for visible, and puts what is not labelled at (0, 0)."""
    points = np.where(person["visibility"][:, None] > 0, person["points"], 0)
    return {
        "isValidation": float(person["validation"]),
        "img_paths": person["image"],
        "objpos": person["centre"],
        "scale_provided": person["scale"],
        "joint_self": np.column_stack([points, person["visibility"] == 2]).tolist(),
    }


def structs(rows: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB struct array, (1, N); fields that a row lacks are empty, as MATLAB has it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in names])
    for i, row in enumerate(rows):
        array[0, i] = tuple(row.get(name, np.zeros((0, 0))) for name in names)
    return array


def release(people: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    """The struct of the release with its irregularities, chosen at random; persons of one image stand together."""
    images = list(dict.fromkeys(person["image"] for person in people))
    annolist = []
    for image in images:
        rectangles = [rectangle(person, rng) for person in people if person["image"] == image]
        strangers = [{"scale": 1.0, "objpos": structs([{"x": 5.0, "y": 6.0}])}] * int(rng.integers(2))
        annolist.append({"image": structs([{"name": image}]), "annorect": structs([*rectangles, *strangers])})
    annolist += [
        {
            "image": structs([{"name": "t1.jpg"}]),
            "annorect": structs([{"scale": 2.5, "objpos": structs([{"x": 9, "y": 8}])}]),
        },
        {"image": structs([{"name": "t2.jpg"}]), "annorect": structs([{"objpos": structs([{"x": 9, "y": 8}])}])},
        {"image": structs([{"name": "t3.jpg"}]), "annorect": structs([{"scale": 2.5}])},
        {"image": structs([{"name": "t4.jpg"}])},
    ]
    training = np.array([[1] * len(images) + [0] * 4], dtype=np.uint8)
    return {"annolist": structs(annolist), "img_train": training, "version": "12"}


def rectangle(person: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    points = [
        {"x": x, "y": y, "id": float(k)} | flag(v, rng)
        for k, ((x, y), v) in enumerate(zip(person["points"], person["visibility"], strict=True))
        if v > 0
    ]
    rng.shuffle(points)  # type: ignore[arg-type]
    head = dict(zip(("x1", "y1", "x2", "y2"), person["head"], strict=True))
    return head | {
        "annopoints": structs([{"point": structs(points)}]),
        "scale": person["scale"],
        "objpos": structs([dict(zip("xy", person["centre"], strict=True))]),
    }


def flag(visibility: int, rng: np.random.Generator) -> dict[str, Any]:
    shown: list[dict[str, Any]] = [{"is_visible": 1.0}, {"is_visible": "1"}, {"is_visible": np.zeros((0, 0))}, {}]
    hidden: list[dict[str, Any]] = [{"is_visible": 0.0}, {"is_visible": "0"}, {"is_visible": np.uint8(0)}]
    choices = shown if visibility == 2 else hidden
    return choices[int(rng.integers(len(choices)))]


def write_json(path: Path, data: object) -> Path:
    text = json.dumps(data).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def write_release(path: Path, struct: dict[str, Any]) -> Path:
    savemat(path, {"RELEASE": struct}, do_compression=True)
    return path


def write_truth(path: Path, people: list[dict[str, Any]]) -> Path:
    names = "rank rkne rhip lhip lkne lank pelv thor neck head rwri relb rsho lsho lelb lwri"
    labelled = np.array([person["visibility"] > 0 for person in people])
    points = np.array([person["points"] for person in people])
    heads = np.array([person["head"] for person in people])
    fields = {
        "dataset_joints": np.array([names.split(" ")], dtype=object),
        "jnt_missing": (~labelled).T.astype(float),
        "pos_gt_src": np.where(labelled[..., None], points, 0.0).transpose(1, 2, 0),
        "headboxes_src": heads.reshape(-1, 2, 2).transpose(1, 2, 0),
    }
    savemat(path, fields)
    return path


def same(found: list[MpiiPerson], people: list[dict[str, Any]], *, occlusion: bool) -> None:
    assert len(found) == len(people)
    for got, person in zip(found, people, strict=True):
        expected = person["visibility"] if occlusion else np.where(person["visibility"] > 0, 2, 0)
        np.testing.assert_array_equal(got.visibility, expected)
        labelled = expected > 0
        np.testing.assert_array_equal(got.keypoints_xy[labelled], person["points"][labelled] - 1)
        np.testing.assert_array_equal(got.centre_xy, person["centre"])
        assert (got.image, got.scale) == (person["image"], person["scale"])


@pytest.mark.parametrize("seed", range(5))
def test_every_form_is_read_the_same(seed: int, tmp_path: Path) -> None:
    people = persons(seed)
    lists = write_json(tmp_path / "list.json.gz", [hrnet(person) for person in people])
    same(read_mpii({lists: None}), people, occlusion=False)
    lists = write_json(tmp_path / "mpii_annotations.json", [hourglass(person) for person in people])
    same(read_mpii({lists: None}), people, occlusion=True)
    struct = release(people, np.random.default_rng(seed))
    found = read_release(write_release(tmp_path / "release.mat", struct))
    same([person for person in found if person.split is None], people, occlusion=True)
    heads = [0.6 * np.hypot(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (person["head"] for person in people)]
    assert [person.head_size for person in found if person.split is None] == pytest.approx(heads)
    (test,) = (person for person in found if person.split == "test")  # only the first has centre and scale
    assert (test.image, test.scale, test.visibility.any(), test.head_size) == ("t1.jpg", 2.5, False, None)


def test_what_the_release_leaves_out_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    struct = release(persons(), np.random.default_rng(1))
    with caplog.at_level(logging.INFO):
        read_release(write_release(tmp_path / "r.mat", struct))
    assert "2 persons without a centre or a scale are left out" in caplog.text
    assert "persons of training images without keypoints are left out" in caplog.text


def test_of_two_places_of_a_keypoint_the_later_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As in the field's lists, which were written point by point."""
    twice = structs([{"x": 1.0, "y": 2.0, "id": 3.0}, {"x": 5.0, "y": 6.0, "id": 3.0}])
    changed = rectangle(persons()[0], np.random.default_rng(0)) | {"annopoints": structs([{"point": twice}])}
    image = {"image": structs([{"name": "a.jpg"}]), "annorect": structs([changed])}
    with caplog.at_level(logging.INFO):
        (found,) = read_release(
            write_release(tmp_path / "r.mat", {"annolist": structs([image]), "img_train": np.array([[1]])})
        )
    np.testing.assert_array_equal(found.keypoints_xy[3], [4, 5])
    assert "1 places of keypoints labelled twice are left out" in caplog.text


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


@given(st.floats(1, 2000), st.floats(1, 2000), st.floats(0.1, 10))
def test_the_crop_is_that_of_hrnets_code(x: float, y: float, scale: float) -> None:
    """There: centre (x, y + 15 scale) - 1, a square of 250 scale, of which output pixel 0 is the left edge and 256 the
    right one; here 0 and 255 are."""
    person = MpiiPerson("p", "a.jpg", np.array([x, y]), scale, np.zeros((16, 2)), np.zeros(16, dtype=int))
    ours = crop_matrix(person.bbox_xyxy, (256, 256), margin=1.25)
    corners = transform_points(np.array([[0.0, 0.0], [255.0, 255.0]]), invert(ours))
    centre = np.array([x - 1, y + 15 * scale - 1])
    reach = 200 * scale * 1.25 / 2
    zoom = 256 / (2 * reach)
    theirs = (np.array([[0.0, 0.0], [256.0, 256.0]]) - 128) / zoom + centre
    if 200 * scale >= 1:
        np.testing.assert_allclose(corners, theirs, atol=1e-6)


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


def edited(style: Any, change: Any) -> list[dict[str, Any]]:
    entries = [copy.deepcopy(style(person)) for person in persons()]
    change(entries[3])
    return entries


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


def put(key: str, value: object) -> Any:
    return lambda entry: entry.__setitem__(key, value)


BROKEN = {
    "15 keypoints": (hrnet, lambda e: e["joints"].pop(), ".joints has shape (15, 2); allowed: finite numbers of shape"),
    "15 flags": (hrnet, lambda e: e["joints_vis"].pop(), ".joints_vis has shape (15,)"),
    "ragged": (hrnet, lambda e: e["joints"][4].pop(), ".joints is a ragged list"),
    "text": (hrnet, lambda e: e["joints"][4].__setitem__(0, "x"), ".joints is [["),
    "NaN": (hourglass, lambda e: e["joint_self"][2].__setitem__(0, float("nan")), ".joint_self is [["),
    "flag": (hourglass, lambda e: e["joint_self"][2].__setitem__(2, 2.0), " has the visibility 2; allowed: 0 or 1"),
    "no scale": (hrnet, lambda e: e.pop("scale"), ".scale is missing"),
    "scale 0": (hourglass, put("scale_provided", 0.0), ".scale_provided is 0; allowed: a person's height"),
    "no centre": (hourglass, lambda e: e.pop("objpos"), ".objpos is missing"),
    "3D centre": (hrnet, put("center", [1, 2, 3]), ".center has shape (3,)"),
    "no image": (hrnet, lambda e: e.pop("image"), ".image is null; allowed: the name of an image file"),
    "visible nowhere": (
        hourglass,
        lambda e: e["joint_self"].__setitem__(9, [0.0, 0.0, 1.0]),
        " has a visible head_top at [0.0, 0.0]",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_lists_are_refused_by_entry(case: str, tmp_path: Path) -> None:
    style, change, message = BROKEN[case]
    source = write_json(tmp_path / "people.json", edited(style, change))
    with pytest.raises(UserError) as caught:
        read_mpii({source: None})
    assert f"people.json[3]{message}" in str(caught.value)
    assert caught.value.code == "bad-annotation"


BROKEN_RELEASE = {
    "head of size 0": ({"x1": 5.0, "x2": 5.0, "y1": 6.0, "y2": 6.0}, "has a head box of size 0 at (5, 6)"),
    "scale 0": ({"scale": 0.0}, "scale is 0"),
    "scale NaN": ({"scale": np.nan}, "scale is nan"),
    "text": ({"scale": "big"}, "scale is np.str_('big')"),
    "keypoint 16": ({"annopoints": structs([{"point": structs([{"x": 1.0, "y": 2.0, "id": 16.0}])}])}, "id is 16.0"),
    "no y": ({"annopoints": structs([{"point": structs([{"x": 1.0, "id": 3.0}])}])}, "point(1) has no place"),
}


@pytest.mark.parametrize("case", BROKEN_RELEASE)
def test_broken_releases_are_refused_by_person(case: str, tmp_path: Path) -> None:
    change, message = BROKEN_RELEASE[case]
    good = rectangle(persons()[0], np.random.default_rng(0))
    image = {"image": structs([{"name": "a.jpg"}]), "annorect": structs([good, good | change])}
    struct = {"annolist": structs([image]), "img_train": np.array([[1]])}
    with pytest.raises(UserError) as caught:
        read_release(write_release(tmp_path / "r.mat", struct))
    assert "r.mat: annolist(1).annorect(2)" in str(caught.value)
    assert message in str(caught.value)


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


def test_the_real_lists_agree_and_differ_as_documented(real_data: Path) -> None:
    """HRNet's own entries call occluded keypoints labelled (flag 1); the hourglass list has 0 for them."""
    theirs = read_mpii({real_data / "mpii" / "sample" / "test_mpii.json": None})
    ours = read_mpii({real_data / "mpii" / "annot" / "valid.json.gz": "val"})
    by_image = {person.image: person for person in ours}
    for person in theirs:
        other = by_image[person.image]
        np.testing.assert_array_equal(person.visibility > 0, other.visibility > 0)
        assert 1 not in person.visibility
        labelled = person.visibility > 0
        np.testing.assert_allclose(person.keypoints_xy[labelled], other.keypoints_xy[labelled], atol=5.1e-4)
    assert sum(int((person.visibility == 1).sum()) for person in ours) == 10243
    assert sum(int((person.visibility == 0).sum()) for person in ours) == 3088
