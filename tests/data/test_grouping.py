"""Part groupings: what every one of them is, and that structure put in comes out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefabric.data import coco
from posefabric.data.guesses import grouping, placement
from posefabric.data.imports import mpii
from posefabric.skeletons import COCO17, LSP14, MPII16, SKELETONS, Skeleton, check_partition

NOBODY = np.empty((0, 17, 2))


def assert_sound(skeleton, parts, count):
    """Every keypoint in exactly one of `count` parts; a part's mirror image is a part."""
    check_partition(skeleton, parts, "parts")
    assert len(parts) == min(count, skeleton.num_keypoints)
    assert sorted(name for names in parts.values() for name in names) == sorted(skeleton.keypoints)
    mirror = dict(zip(skeleton.keypoints, np.array(skeleton.keypoints)[list(skeleton.flip_permutation)], strict=True))
    groups = {frozenset(names) for names in parts.values()}
    assert {frozenset(mirror[name] for name in names) for names in parts.values()} == groups


@st.composite
def skeletons(draw):
    pairs, middles = draw(st.integers(0, 6)), draw(st.integers(0, 5))
    names = [f"{side}_{i}" for i in range(pairs) for side in ("left", "right")] + [
        f"middle_{i}" for i in range(middles)
    ]
    names = names or ["only"]
    keypoint = st.integers(0, len(names) - 1)
    limbs = (
        draw(st.lists(st.tuples(keypoint, keypoint).filter(lambda limb: limb[0] != limb[1]), max_size=12))
        if len(names) > 1
        else []
    )
    mirror_pairs = tuple((f"left_{i}", f"right_{i}") for i in range(pairs))
    return Skeleton(tuple(names), mirror_pairs=mirror_pairs, limbs=tuple((names[a], names[b]) for a, b in limbs))


@settings(deadline=None, max_examples=60)
@given(skeletons(), st.integers(1, 6), st.integers(0, 1000))
def test_every_grouping_of_every_skeleton_is_sound_and_the_same_again(skeleton, count, seed):
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(grouping.MIN_PERSONS, skeleton.num_keypoints, 2))
    places[rng.random(places.shape[:2]) < 0.6] = np.nan
    for make in (
        lambda: grouping.by_graph(skeleton, places, count),
        lambda: grouping.by_graph(skeleton, places[:0], count),
        lambda: grouping.learned(skeleton, places, count),
    ):
        parts = make()
        assert_sound(skeleton, parts, count)
        assert make() == parts
    chance = grouping.at_random(skeleton, count, seed)
    orbits = skeleton.num_keypoints - len(skeleton.mirror_pairs)  # pairs stay together
    assert_sound(skeleton, chance, min(count, orbits))
    assert grouping.at_random(skeleton, count, seed) == chance


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_the_known_bodies_fall_into_as_many_parts_as_asked(skeleton, count):
    assert_sound(skeleton, grouping.by_graph(skeleton, NOBODY[:, : skeleton.num_keypoints], count), count)
    assert len(grouping.at_random(skeleton, count)) == count


@pytest.mark.parametrize("skeleton", [COCO17, MPII16], ids=["coco17", "mpii16"])
def test_three_parts_of_the_graph_are_those_of_the_paper(skeleton):
    parts = grouping.by_graph(skeleton, NOBODY[:, : skeleton.num_keypoints], 3)
    assert {frozenset(names) for names in parts.values()} == {frozenset(p) for p in skeleton.partition("3").values()}


def blocks(rng, sizes, persons):
    """Keypoints that move with their block's own point and a little by themselves."""
    centres = rng.normal(size=(persons, len(sizes), 2))
    return np.concatenate(
        [centres[:, b : b + 1] + 0.3 * rng.normal(size=(persons, size, 2)) for b, size in enumerate(sizes)], axis=1
    )


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_blocks_that_move_together_are_learned(missing):
    rng = np.random.default_rng(0)
    sizes = (3, 2, 4)
    places = blocks(rng, sizes, 300)
    places[rng.random(places.shape[:2]) < missing] = np.nan
    names = tuple(f"k{i}" for i in range(9))
    shuffled = rng.permutation(9)
    parts = grouping.learned(Skeleton(tuple(names[i] for i in shuffled)), places[:, shuffled], 3)
    assert {frozenset(p) for p in parts.values()} == {frozenset(names[:3]), frozenset(names[3:5]), frozenset(names[5:])}


def test_dependence_is_the_mutual_information_of_gaussians():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(20_000, 2))
    b = 0.8 * a + 0.6 * rng.normal(size=(20_000, 2))
    places = np.stack([a, b, rng.normal(size=(20_000, 2)), np.full_like(a, np.nan)], axis=1)
    affinity = grouping.dependence(places)
    information = -np.log(1 - 0.8**2)  # two independent axes of correlation 0.8
    assert affinity[0, 1] == pytest.approx(1 - np.exp(-2 * information), abs=0.01)
    assert affinity[0, 2] < 1e-3
    assert affinity[0, 3] == affinity[3, 2] == 0
    turned = places @ np.array([[0.0, 2.0], [-5.0, 1.0]])
    np.testing.assert_allclose(grouping.dependence(turned), affinity, atol=1e-6)


def slow_dependence(a, b):
    both = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    joint = np.cov(np.column_stack([a[both], b[both]]), rowvar=False)
    logs = [np.linalg.slogdet(block)[1] for block in (joint[:2, :2], joint[2:, 2:], joint)]
    return 1 - np.exp(-2 * max((logs[0] + logs[1] - logs[2]) / 2 - 2 / both.sum(), 0))


def test_dependence_counts_the_persons_who_have_both():
    rng = np.random.default_rng(0)
    places = np.cumsum(rng.normal(size=(300, 6, 2)), axis=1)
    places[rng.random(places.shape[:2]) < 0.4] = np.nan
    affinity = grouping.dependence(places)
    for i, j in itertools.combinations(range(6), 2):
        assert affinity[i, j] == affinity[j, i] == pytest.approx(slow_dependence(places[:, i], places[:, j]), abs=1e-6)


def test_spanning_limbs_join_neighbours():
    points = np.array([[0, 0], [0, 3], [0, 1], [0, 2]], dtype=np.float64)
    limbs = grouping.spanning_limbs(placement.mean_distances(points[None]))
    assert {frozenset(limb) for limb in limbs} == {frozenset(p) for p in ((0, 2), (2, 3), (3, 1))}


def test_pieces_of_a_graph_are_joined_where_they_are_near():
    names = ("a", "b", "c", "d", "e")
    line = np.stack([np.array([0, 1, 2, 8, 9.0]), np.zeros(5)], axis=1)[None]
    skeleton = Skeleton(names, limbs=(("a", "b"), ("d", "e")))
    parts = grouping.by_graph(skeleton, line, 2)
    assert set(parts.values()) == {("a", "b", "c"), ("d", "e")}


def test_133_keypoints_of_which_most_are_not_joined_are_cut_in_seconds():
    names = tuple(f"{side}_{i}" for i in range(60) for side in ("left", "right")) + tuple(
        f"face-{i}" for i in range(13)
    )
    rng = np.random.default_rng(0)
    skeleton = Skeleton(
        names, mirror_pairs=tuple((f"left_{i}", f"right_{i}") for i in range(60)), limbs=((names[0], names[2]),)
    )
    places = rng.normal(size=(grouping.MIN_PERSONS, 133, 2))
    assert_sound(skeleton, grouping.by_graph(skeleton, places, 5), 5)
    assert_sound(skeleton, grouping.learned(skeleton, places, 3), 3)


@pytest.mark.real_data
def test_five_parts_learned_from_coco_keep_lower_arms_and_lower_legs_together(real_data):
    people = coco.load(real_data / "coco_eval" / "person_keypoints_val2017_538.json")
    groups = {frozenset(names) for names in learned_five(COCO17, people.persons).values()}
    assert {frozenset({f"{side}_elbow", f"{side}_wrist"}) for side in ("left", "right")} <= groups
    assert frozenset({"left_knee", "right_knee", "left_ankle", "right_ankle"}) in groups


@pytest.mark.real_data
def test_five_parts_learned_from_sports_people_are_those_of_the_paper(real_data):
    people = coco.load(real_data / "lspet" / "person_keypoints_train.json")
    assert_those_of_the_paper(LSP14, learned_five(LSP14, people.persons))


@pytest.mark.real_data
def test_five_parts_learned_from_mpii_are_those_of_the_paper(real_data):
    annotations = mpii.find_annotations(real_data / "mpii" / "annot" / "mpii_annotations.json.gz")
    persons = [person.record(1, row) for row, person in enumerate(mpii.read_mpii(annotations)[::5])]
    assert_those_of_the_paper(MPII16, learned_five(MPII16, persons))


def learned_five(skeleton, persons):
    return grouping.learned(skeleton, placement.place(persons, skeleton.num_keypoints), 5)


def assert_those_of_the_paper(skeleton, parts):
    """Table I, P = 5, which Tang and Wu learned in their own way."""
    assert {frozenset(names) for names in parts.values()} == {frozenset(p) for p in skeleton.partition("5").values()}
