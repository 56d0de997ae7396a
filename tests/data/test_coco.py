"""The COCO reader: real files, a round trip, what is refused. `test_check` has the table of broken files."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefabric.data import coco
from posefabric.data.images import write_image
from posefabric.data.records import GroundTruth, PersonRecord
from posefabric.errors import UserError
from posefabric.skeletons import COCO17, LSP14, Skeleton


def annotation(annotation_id, image_id=3, **more):
    return {"id": annotation_id, "image_id": image_id, "category_id": 1, "bbox": [0, 0, 4, 5], **more}


CAT = {
    "images": [{"id": 3, "file_name": "a.png"}, {"id": 4, "file_name": "deep/b.png"}],
    "annotations": [
        annotation(7, 4, keypoints=[1, 2, 2, 9, 8, 1, 0, 0, 0], bbox=[1, 2, 8, 6]),
        annotation(8, keypoints=[5.5, 6, 2] * 3, area=9),
        annotation(9, keypoints=[0] * 9),
        annotation(10, keypoints=[5, 5, 2] * 3, iscrowd=1),
        annotation(11),
        annotation(12, category_id=2),
    ],
    "categories": [
        {
            "id": 1,
            "name": "cat",
            "keypoints": ["left_ear", "right_ear", "tail"],
            "skeleton": [[1, 3], [2, 3]],
        },
        {"id": 2, "name": "dog"},
    ],
}


def changed(path, value):
    """`CAT` with one value replaced, or removed where `value` is Ellipsis."""
    document = copy.deepcopy(CAT)
    *parents, last = path
    node = document
    for key in parents:
        node = node[key]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return document


def saved(folder, document):
    path = folder / "people.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_conventions_end_in_the_reader(tmp_path):
    people = coco.load(saved(tmp_path, CAT))
    first, second = people.record(0), people.record(1)
    assert len(people) == 2
    assert (first.annotation_id, first.image_id, first.area, first.head_size) == (7, 4, 48, None)
    np.testing.assert_array_equal(first.bbox_xyxy, [1, 2, 9, 8])
    np.testing.assert_array_equal(first.keypoints_xy, [[1, 2], [9, 8], [0, 0]])
    np.testing.assert_array_equal(first.visibility, [2, 1, 0])
    assert second.area == 9
    assert first.image_path == str(tmp_path / "deep" / "b.png")


def test_the_skeleton_comes_from_the_category(tmp_path):
    skeleton = coco.load(saved(tmp_path, CAT)).skeleton
    assert skeleton.name == "cat"
    assert skeleton.mirror_pairs == (("left_ear", "right_ear"),)
    assert skeleton.limbs == (("left_ear", "tail"), ("right_ear", "tail"))
    category = {**CAT["categories"][0], "flip_pairs": [], "sigmas": [0.1, 0.2, 0.3]}
    skeleton = coco.load(saved(tmp_path, changed(["categories", 0], category))).skeleton
    assert skeleton.mirror_pairs == ()
    assert skeleton.sigmas == (0.1, 0.2, 0.3)
    own = Skeleton(keypoints=("a", "b", "c"))
    assert coco.load(saved(tmp_path, CAT), skeleton=own).skeleton is own


def test_images_are_found_beside_the_file(tmp_path):
    path = saved(tmp_path, CAT)
    picture = np.full((9, 12, 3), 9, dtype=np.uint8)
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "a.png", picture)
    people = coco.load(path)
    np.testing.assert_array_equal(people.image(1), picture)
    with pytest.raises(UserError) as caught:
        people.image(0)
    assert caught.value.code == "missing-file"
    assert coco.load(path, images_dir=tmp_path).record(1).image_path == str(tmp_path / "a.png")


def test_one_error_lists_every_problem(tmp_path):
    document = changed(["annotations", 1, "keypoints"], [1] * 8)
    document["annotations"][0]["image_id"] = 5
    del document["categories"][1]
    path = saved(tmp_path, document)
    with pytest.raises(UserError) as caught:
        coco.load(path)
    assert caught.value.code == "bad-annotation"
    first, *lines = str(caught.value).splitlines()
    assert first == f"{path} has 3 problems:"
    for line, pieces in zip(
        lines,
        (
            ("/annotations/0/image_id (annotation 7, image 5)", "found 5", "an entry of images", "[unknown-image]"),
            ("/annotations/1/keypoints (annotation 8, image 3)", "found 8 numbers", "expected 9 numbers"),
            ("/annotations/5/category_id (annotation 12, image 3)", "found 2", "expected one of 1"),
        ),
        strict=True,
    ):
        assert all(piece in line for piece in pieces), line


def test_beyond_fifty_problems_are_counted(tmp_path):
    document = copy.deepcopy(CAT)
    document["annotations"] += [annotation(i, keypoints=[1] * 9, bbox=[0, 0, -1, 1]) for i in range(100, 180)]
    document["annotations"] += [annotation(0, keypoints=[1] * 9, bbox=[1])]
    with pytest.raises(UserError) as caught:
        coco.load(saved(tmp_path, document))
    assert "has 81 problems" in str(caught.value)
    assert str(caught.value).count("/bbox") == 50
    assert "and 31 more: 31 bad-box" in str(caught.value)


def test_what_only_other_tools_need_is_derived_and_counted(tmp_path, caplog):
    people = coco.load(saved(tmp_path, CAT))
    assert [person.area for person in people.persons] == [48, 9]
    assert "4 missing-num-keypoints" in caplog.text
    assert "3 missing-area" in caplog.text
    caplog.clear()
    assert len(coco.load(saved(tmp_path, coco.to_coco(people, tmp_path)))) == 2
    assert "missing" not in caplog.text


def test_the_first_category_with_keypoints_is_taken_and_the_others_named(tmp_path, caplog):
    document = changed(["categories"], [{"id": 2, "name": "dog"}, CAT["categories"][0]])
    assert coco.load(saved(tmp_path, document)).category_id == 1
    assert "several categories" not in caplog.text
    document["categories"].insert(1, {"id": 4, "name": "bird", "keypoints": ["beak"]})
    document["annotations"].append(annotation(44, category_id=4, keypoints=[1, 1, 2]))
    assert coco.load(saved(tmp_path, document)).skeleton.name == "bird"
    assert "'bird' is taken, not cat" in caplog.text
    assert coco.load(saved(tmp_path, document), category="cat").category_id == 1


def test_problems_of_categories_that_are_not_read_do_not_matter(tmp_path):
    document = copy.deepcopy(CAT)
    document["categories"].append({"id": 4, "name": "bird", "keypoints": ["beak"]})
    document["annotations"].append(annotation(44, category_id=4, keypoints=[1, 1]))
    assert len(coco.load(saved(tmp_path, document))) == 2
    with pytest.raises(UserError, match="/annotations/6/keypoints"):
        coco.load(saved(tmp_path, document), category="bird")


def test_images_alone_are_read_with_a_skeleton(tmp_path, caplog):
    """As COCO's test-dev is published: no annotations, and categories without keypoints."""
    document = {"images": CAT["images"], "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]}
    people = coco.load(saved(tmp_path, document), skeleton=COCO17)
    assert (len(people), list(people.truth().image_ids), people.category_id) == (0, [3, 4], 1)
    assert "images alone" in caplog.text
    with pytest.raises(UserError, match="/annotations"):
        coco.load(saved(tmp_path, document))


def test_other_errors_of_the_caller(tmp_path):
    with pytest.raises(UserError) as caught:
        coco.load(tmp_path / "none.json")
    assert caught.value.code == "missing-file"
    with pytest.raises(UserError, match='no category "bird"; expected one of "cat", "dog"'):
        coco.load(saved(tmp_path, CAT), category="bird")
    with pytest.raises(UserError, match="51 numbers"):
        coco.load(saved(tmp_path, CAT), skeleton=COCO17)
    with pytest.raises(UserError, match=r"/categories/0/keypoints/0.*'tail', as in the skeleton"):
        coco.load(saved(tmp_path, CAT), skeleton=Skeleton(("tail", "left_ear", "right_ear")))


class OnePerson:
    skeleton = COCO17

    def __init__(self, record):
        self.only = record

    def truth(self):
        return GroundTruth(COCO17, (self.only,), (self.only.image_id,))

    def __len__(self):
        return 1

    def record(self, index):
        return self.only

    def image(self, index):
        return np.zeros((1, 1, 3), dtype=np.uint8)


@given(st.integers(0, 2**31), st.sampled_from([None, 41.5]), st.sampled_from(["", "x/y.png"]))
@settings(max_examples=50)
def test_any_people_survive_the_round_trip(tmp_path_factory, seed, head_size, image_path):
    rng = np.random.default_rng(seed)
    visibility = rng.integers(0, 3, 17)
    visibility[0] = 2
    x, y, w, h = rng.uniform(1, 500, 4)
    box = np.array([x, y, x + w, y + h])
    keypoints = rng.uniform(-10, 900, (17, 2))
    before = PersonRecord(5, 6, box, keypoints, visibility, 12.5, head_size=head_size, image_path=image_path)
    path = saved(tmp_path_factory.mktemp("any"), coco.to_coco(OnePerson(before)))
    people = coco.load(path)
    after = people.record(0)
    assert people.skeleton is COCO17
    np.testing.assert_allclose(after.bbox_xyxy, before.bbox_xyxy)
    np.testing.assert_array_equal(after.keypoints_xy, before.keypoints_xy)
    np.testing.assert_array_equal(after.visibility, before.visibility)
    assert (after.image_id, after.annotation_id, after.area, after.head_size) == (5, 6, 12.5, head_size)
    assert after.image_path == str(path.parent / ("y.png" if image_path else "000005.png"))


def test_a_skeleton_of_ones_own_survives_the_round_trip(tmp_path):
    people = coco.load(saved(tmp_path, CAT))
    written = coco.to_coco(people, images_dir=tmp_path)
    again = coco.load(saved(tmp_path, written))
    assert again.skeleton.mirror_pairs == people.skeleton.mirror_pairs
    assert again.skeleton.limbs == people.skeleton.limbs
    assert [r.image_path for r in again.persons] == [r.image_path for r in people.persons]
    assert coco.to_coco(again, images_dir=tmp_path) == written


def nobody(image_id: int, annotation_id: int) -> PersonRecord:
    return PersonRecord(image_id, annotation_id, np.zeros(4), np.zeros((14, 2)), np.ones(14, int), 0.0)


@given(st.integers(0, 1000))
def test_a_split_keeps_images_together_and_loses_nobody(seed):
    people = coco.people_of(LSP14, [nobody(i // 2, i) for i in range(60)], dict.fromkeys(range(30), ""))
    groups = coco.split_by_image(people, (0.5, 0.3, 0.2), seed)
    images = [{person.image_id for person in group.persons} for group in groups]
    assert sorted(p.annotation_id for g in groups for p in g.persons) == list(range(60))
    assert all(not a & b for i, a in enumerate(images) for b in images[i + 1 :])
    fewer = coco.people_of(LSP14, people.annotated[::7], people.image_paths)
    for group, smaller in zip(groups, coco.split_by_image(fewer, (0.5, 0.3, 0.2), seed), strict=True):
        assert set(smaller.persons) <= set(group.persons)


def test_a_split_has_about_the_fractions_and_depends_on_the_seed():
    people = coco.people_of(LSP14, [nobody(i, i) for i in range(5000)], dict.fromkeys(range(5000), ""))
    sizes = [len(group) for group in coco.split_by_image(people)]
    np.testing.assert_allclose(np.array(sizes) / 5000, [0.8, 0.1, 0.1], atol=0.02)
    assert coco.split_by_image(people)[1].persons != coco.split_by_image(people, seed=1)[1].persons


@pytest.mark.parametrize(
    ("file", "count", "skeleton"),
    [
        ("coco_mini/person_keypoints_val.json", 100, COCO17),
        ("coco_mini/person_keypoints_train.json", 77, COCO17),
        ("coco_mmpose/test_coco.json", 12, COCO17),
        ("lspet/person_keypoints_val.json", 300, LSP14),
        ("coco_eval/person_keypoints_val2017_538.json", 1354, COCO17),
    ],
)
@pytest.mark.real_data
def test_real_files_are_read(real_data, file, count, skeleton):
    people = coco.load(real_data / file)
    assert (len(people), people.skeleton) == (count, skeleton)
    inside = []
    for person in people.persons:
        x1, y1, x2, y2 = person.bbox_xyxy
        x, y = person.keypoints_xy[person.visibility > 0].T
        inside.extend((x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2))
    assert np.mean(inside) > 0.9  # COCO's hand-set boxes cut a few keypoints off


@pytest.mark.real_data
def test_real_images_are_found(real_data):
    people = coco.load(real_data / "coco_mini" / "person_keypoints_val.json")
    height, width, _ = people.image(0).shape
    assert (height, width) == (427, 640)


def test_guessed_pairs_are_told_of_the_category_that_is_read_and_of_no_given_skeleton(tmp_path, caplog):
    hand = {"id": 2, "name": "hand", "keypoints": [f"finger_{i}" for i in range(30)]}
    path = saved(tmp_path, changed(["categories", 1], hand))
    coco.load(path, category="cat")
    assert "guessed from the names: left_ear and right_ear; taken to lie on the middle line: tail" in caplog.text
    assert "hand" not in caplog.text
    caplog.clear()
    coco.load(path, skeleton=Skeleton(keypoints=("left_ear", "right_ear", "tail")), category="cat")
    assert "guessed from" not in caplog.text
    coco.load(path, category="hand")
    assert "finger_7, ... (30 in all)" in caplog.text
