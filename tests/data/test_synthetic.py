"""Rendered people: exact keypoints, fixed by seed and index, and no colour that tells left from right."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefabric.data.records import PersonRecord
from posefabric.data.synthetic import people as synthetic
from posefabric.data.synthetic import rendering
from posefabric.data.synthetic.clothes import sample_wardrobe
from posefabric.data.synthetic.figures import Figure, sample_figure
from posefabric.data.synthetic.people import OWNERS, Photograph, SyntheticPeople
from posefabric.data.synthetic.rendering import PART_IDS, Canvas, Painter, View
from posefabric.data.synthetic.scenery import OCCLUDER_ID
from posefabric.errors import UserError
from posefabric.skeletons import COCO17, LSP14, MPII16, Skeleton

NUM_STUDIED = 200
CENTRAL_VIEW = View(scale=150.0, offset_xy=np.array([79.5, 95.5]), distance=4.0)


@pytest.fixture(scope="module")
def photographs() -> list[Photograph]:
    people = SyntheticPeople(count=NUM_STUDIED, seed=11)
    return [people.photograph(index) for index in range(NUM_STUDIED)]


def mirror_name(name: str) -> str:
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


def mirror(figure: Figure) -> Figure:
    flip = np.array([-1.0, 1.0, 1.0])
    return dataclasses.replace(
        figure,
        points={mirror_name(name): flip * point for name, point in figure.points.items()},
        head=flip[:, None] * figure.head * flip,
        facing=flip * figure.facing,
    )


def assert_same(first: PersonRecord, second: PersonRecord) -> None:
    for field in dataclasses.fields(PersonRecord):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


@given(seed=st.integers(0, 2**31), order=st.permutations(range(6)))
@settings(max_examples=5, deadline=None)
def test_a_person_depends_on_seed_and_index_alone(seed: int, order: list[int]) -> None:
    people = SyntheticPeople(count=6, seed=seed)
    first = [(people.record(index), people.image(index)) for index in range(6)]
    synthetic._photograph.cache_clear()
    longer = SyntheticPeople(count=60, seed=seed)
    for index in order:
        assert_same(longer.record(index), first[index][0])
        np.testing.assert_array_equal(longer.image(index), first[index][1])


def test_other_indices_and_seeds_are_other_people() -> None:
    images = [SyntheticPeople(seed=seed).image(index) for seed, index in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert len({image.tobytes() for image in images}) == 4


def test_changing_what_was_returned_changes_nothing() -> None:
    people = SyntheticPeople()
    kept = people.image(0).copy(), people.record(0).keypoints_xy.copy(), people.record(0).bbox_xyxy.copy()
    people.image(0)[:] = 0
    people.record(0).keypoints_xy[:] = 0
    people.record(0).bbox_xyxy[:] = 0
    np.testing.assert_array_equal(people.image(0), kept[0])
    np.testing.assert_array_equal(people.record(0).keypoints_xy, kept[1])
    np.testing.assert_array_equal(people.record(0).bbox_xyxy, kept[2])


@pytest.mark.parametrize("image_hw", [(192, 160), (96, 128), (64, 64)])
def test_record_contract(image_hw: tuple[int, int]) -> None:
    people = SyntheticPeople(COCO17, count=40, seed=5, image_hw=image_hw)
    height, width = image_hw
    for index in range(len(people)):
        image, record = people.image(index), people.record(index)
        assert image.shape == (height, width, 3)
        assert image.dtype == np.uint8
        assert record.image_id == record.annotation_id == index + 1
        labelled = record.keypoints_xy[record.visibility > 0]
        left, top, right, bottom = record.bbox_xyxy
        assert 0 <= left < right <= width - 1
        assert 0 <= top < bottom <= height - 1
        assert labelled.size
        assert (labelled >= record.bbox_xyxy[:2] - 1).all()
        assert (labelled <= record.bbox_xyxy[2:] + 1).all()
        assert not record.keypoints_xy[record.visibility == 0].any()
        assert 0 < record.area <= (right - left + 1) * (bottom - top + 1)


def test_skeletons_agree_on_what_they_share() -> None:
    people = {skeleton.name: SyntheticPeople(skeleton, seed=2) for skeleton in (COCO17, MPII16, LSP14)}
    for index in range(20):
        seen: dict[str, tuple[float, ...]] = {}
        for each in people.values():
            np.testing.assert_array_equal(each.image(index), people["coco17"].image(index))
            record = each.record(index)
            for name, xy, visible in zip(each.skeleton.keypoints, record.keypoints_xy, record.visibility, strict=True):
                assert seen.setdefault(name, (*xy, visible)) == (*xy, visible)


def test_head_size_is_the_length_of_the_head() -> None:
    assert SyntheticPeople(COCO17).record(0).head_size is None
    for skeleton, ends in ((MPII16, ("head_top", "upper_neck")), (LSP14, ("head_top", "neck"))):
        people = SyntheticPeople(skeleton, seed=3)
        for index in range(30):
            record, keypoints = people.record(index), people.photograph(index).keypoints
            assert record.head_size is not None
            projected = np.linalg.norm(keypoints[ends[0]] - keypoints[ends[1]])
            assert 0.5 * projected < record.head_size


def test_visibility_says_what_the_part_map_shows(photographs: list[Photograph]) -> None:
    for photograph in photographs:
        height, width = photograph.parts.shape
        for name, (x, y) in photograph.keypoints.items():
            inside = -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5
            visibility = photograph.visibility(name)
            assert (visibility > 0) == inside
            if inside:
                column, row = round(x), round(y)
                shown = photograph.parts[row, column]
                around = photograph.parts[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
                assert around.any(), f"{name} lies on the background"
                assert (visibility == 2) == (shown in {PART_IDS[part] for part in OWNERS[name]})


def test_visibility_is_mixed_as_in_photographs(photographs: list[Photograph]) -> None:
    counts = np.bincount(
        [photograph.visibility(name) for photograph in photographs for name in COCO17.keypoints], minlength=3
    )
    outside, occluded, visible = counts / counts.sum()
    assert 0.02 < outside < 0.2
    assert 0.1 < occluded < 0.4
    assert visible > 0.5
    cut = np.mean([any(p.visibility(n) == 0 for n in COCO17.keypoints) for p in photographs])
    assert 0.08 < cut < 0.3


def test_objects_hide_keypoints(photographs: list[Photograph]) -> None:
    behind = [
        photograph.visibility(name)
        for photograph in photographs
        for name, xy in photograph.keypoints.items()
        if photograph.visibility(name) and photograph.parts[tuple(np.rint(xy).astype(int)[::-1])] == OCCLUDER_ID
    ]
    assert len(behind) > 10
    assert set(behind) == {1}


def test_the_back_of_a_head_has_no_face(photographs: list[Photograph]) -> None:
    seen_by_view = {True: set[int](), False: set[int]()}
    for photograph in photographs:
        front_away = photograph.figure.head[2, 2] / np.linalg.norm(photograph.figure.head[:, 2])
        if abs(front_away) > 0.5:
            for name in ("nose", "left_eye", "right_eye"):
                seen_by_view[bool(front_away > 0)].add(photograph.visibility(name))
    assert 2 not in seen_by_view[True]
    assert 2 in seen_by_view[False]


def test_a_person_who_faces_us_has_the_left_hand_on_our_right(photographs: list[Photograph]) -> None:
    facing_us = [
        photograph.figure.points
        for photograph in photographs
        if photograph.figure.facing[2] < -0.8
        and photograph.figure.points["thorax"][1] < photograph.figure.points["pelvis"][1] - 0.2
    ]
    assert len(facing_us) > 10
    assert all(points["left_shoulder"][0] > points["right_shoulder"][0] for points in facing_us)
    assert all(np.linalg.det(photograph.figure.head) > 0 for photograph in photographs)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_no_colour_tells_left_from_right(seed: int) -> None:
    """Under light from above, the mirrored person with sides exchanged is the mirrored photograph."""
    rng = np.random.default_rng(seed)
    figure, wardrobe = sample_figure(rng), dataclasses.replace(sample_wardrobe(rng), pattern=0.0)
    with pytest.MonkeyPatch.context() as patch:
        light = np.array([0.0, -1.0])
        patch.setattr(rendering, "_LIGHT", light)
        patch.setattr(rendering, "_SPOKES", rendering._spokes(light))
        plain, mirrored = (Canvas(np.zeros((192, 160, 3), np.uint8), np.zeros((192, 160), np.uint8)) for _ in range(2))
        Painter(plain, CENTRAL_VIEW, figure, wardrobe).paint()
        Painter(mirrored, CENTRAL_VIEW, mirror(figure), wardrobe).paint()
    exchange = np.zeros(256, np.uint8)
    for name, number in PART_IDS.items():
        exchange[number] = PART_IDS[mirror_name(name)]
    body = int(np.count_nonzero(plain.parts))
    assert np.count_nonzero(exchange[plain.parts[:, ::-1]] != mirrored.parts) < 0.06 * body
    difference = np.abs(plain.image[:, ::-1].astype(int) - mirrored.image).max(axis=-1)
    assert np.count_nonzero(difference > 40) < 0.06 * body


@given(seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_body_is_as_long_left_as_right(seed: int) -> None:
    points = sample_figure(np.random.default_rng(seed)).points
    for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
        left, right = (
            np.linalg.norm(points[f"{side}_{start}"] - points[f"{side}_{end}"]) for side in ("left", "right")
        )
        assert left == pytest.approx(right)


@given(x=st.floats(30, 50), y=st.floats(30, 50), radius=st.floats(5, 20))
@settings(max_examples=40, deadline=None)
def test_a_disc_is_painted_around_its_centre(x: float, y: float, radius: float) -> None:
    canvas = Canvas(np.zeros((80, 80, 3), np.uint8), np.zeros((80, 80), np.uint8))
    disc = np.array([[x, y]]), np.array([radius])
    canvas.mark(disc, 7)
    canvas.flat(disc, (200.0, 100.0, 50.0))
    rows, columns = np.nonzero(canvas.parts == 7)
    assert (columns.mean(), rows.mean()) == pytest.approx((x, y), abs=0.35)
    weight = canvas.image[..., 0] / 200.0
    grid_y, grid_x = np.indices(weight.shape)
    centre = (weight * grid_x).sum() / weight.sum(), (weight * grid_y).sum() / weight.sum()
    assert centre == pytest.approx((x, y), abs=0.1)


def test_a_skeleton_with_unknown_keypoints_is_refused() -> None:
    animal = Skeleton(name="animal17", keypoints=("nose", "tail_base"))
    with pytest.raises(UserError, match=r"tail_base.*coco17, mpii16, lsp14") as caught:
        SyntheticPeople(animal)
    assert caught.value.code == "unknown-name"


def test_a_skeleton_of_known_keypoints_is_allowed() -> None:
    hands = Skeleton(name="hands", keypoints=("left_wrist", "right_wrist"))
    both = SyntheticPeople(hands).record(4).keypoints_xy
    wrists = [COCO17.index(name) for name in hands.keypoints]
    np.testing.assert_array_equal(both, SyntheticPeople(COCO17).record(4).keypoints_xy[wrists])


def test_workers_see_the_same_people() -> None:
    people = SyntheticPeople(LSP14, count=9, seed=7, image_hw=(128, 96))
    again = pickle.loads(pickle.dumps(people))  # noqa: S301
    assert (again.skeleton, len(again)) == (people.skeleton, 9)
    np.testing.assert_array_equal(again.image(3), people.image(3))


@pytest.mark.parametrize("index", [-1, 9])
def test_an_index_outside_is_an_error(index: int) -> None:
    with pytest.raises(IndexError):
        SyntheticPeople(count=9).record(index)
