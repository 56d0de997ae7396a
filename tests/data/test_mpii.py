"""MPII's annotations in every form they come in: one set of persons, written in each, is read back the same."""

from __future__ import annotations

import copy
import gzip
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpii_files import hourglass, hrnet, persons, rectangle, release, structs, write_json, write_release
from scipy.io import savemat

from posefabric.data.imports.mpii import read_mpii
from posefabric.data.imports.mpii_person import MpiiPerson
from posefabric.data.imports.mpii_release import read_release
from posefabric.errors import UserError
from posefabric.geometry import crop_matrix, invert, transform_points
from posefabric.matlab import read_mat


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


def edited(style: Any, change: Any) -> list[dict[str, Any]]:
    entries = [copy.deepcopy(style(person)) for person in persons()]
    change(entries[3])
    return entries


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


def test_broken_entries_are_told_together(tmp_path: Path) -> None:
    people = persons() * 5
    entries = [{**hrnet(person), "scale": -1} if i % 2 else hourglass(person) for i, person in enumerate(people)]
    source = write_json(tmp_path / "people.json", [hrnet(people[0]), *entries])
    with pytest.raises(UserError) as caught:
        read_mpii({source: None})
    lines = str(caught.value).split("\n")
    assert lines[0] == "60 entries are broken:"
    assert lines[1].startswith("  people.json[1].image is null")
    assert lines[2].startswith("  people.json[2].scale is -1")
    assert len(lines) == 1 + 50 + 1
    assert lines[-1].startswith("  and 10 more; to do: ")


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


def test_a_packed_list_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "valid.json.gz", "wb") as file:
        for _ in range(21):
            file.write(b" " * 10**7)
    with pytest.raises(UserError, match="too large"):
        read_mpii({tmp_path / "valid.json.gz": "val"})


def test_a_matlab_file_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "joints.mat", {"joints": np.zeros(80 << 17)}, do_compression=True)
    with pytest.raises(UserError, match="unpacks to more than"):
        read_mat(tmp_path / "joints.mat", code="bad-annotation")
    savemat(tmp_path / "fine.mat", {"joints": np.zeros(40 << 17)}, do_compression=True)
    assert read_mat(tmp_path / "fine.mat", code="bad-annotation")["joints"].size == 40 << 17
