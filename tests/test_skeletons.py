"""Built-in skeletons against the paper's table, and skeletons of users: read, refused, written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefabric import documents
from posefabric.errors import UserError
from posefabric.skeletons import COCO17, LSP14, MPII16, SKELETONS, Skeleton, named_skeleton, read_skeleton

every_skeleton = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
every_partition = pytest.mark.parametrize(
    ("skeleton", "name"),
    [(skeleton, name) for skeleton in SKELETONS.values() for name in skeleton.partitions],
)

AUTHORS_MPII = (9, 8, 7, 13, 12, 14, 11, 15, 10, 3, 2, 4, 1, 5, 0, 6)
"""The authors re-order MPII: entry i is MPII's own number of the keypoint that table I calls i."""

TABLE_I_COCO: dict[str, dict[str, tuple[int, ...]]] = {
    "1": {"all": tuple(range(17))},
    "3": {"head": (0, 1, 2, 3, 4), "upper_limb": (5, 6, 7, 8, 9, 10), "lower_limb": (11, 12, 13, 14, 15, 16)},
    "5": {
        "head_shoulder": (0, 1, 2, 3, 4, 5, 6),
        "left_lower_arm": (7, 9),
        "right_lower_arm": (8, 10),
        "thigh": (11, 12),
        "lower_limb": (13, 14, 15, 16),
    },
    "8": {
        "head_shoulder": (0, 1, 2, 3, 4, 5, 6),
        "left_upper_arm": (5, 7),
        "left_lower_arm": (7, 9),
        "right_upper_arm": (6, 8),
        "right_lower_arm": (8, 10),
        "thigh": (11, 12, 13, 14),
        "left_lower_leg": (13, 15),
        "right_lower_leg": (14, 16),
    },
}

TABLE_I_MPII: dict[str, dict[str, tuple[int, ...]]] = {
    "1": {"all": tuple(range(16))},
    "3": {"head": (0, 1, 2), "upper_limb": (3, 4, 5, 6, 7, 8), "lower_limb": (9, 10, 11, 12, 13, 14, 15)},
    "5": {
        "head_shoulder": (0, 1, 2, 3, 4),
        "left_lower_arm": (5, 7),
        "right_lower_arm": (6, 8),
        "thigh": (9, 10, 15),
        "lower_limb": (11, 12, 13, 14),
    },
    "8": {
        "head_shoulder": (0, 1, 2, 3, 4),
        "left_upper_arm": (3, 5),
        "left_lower_arm": (5, 7),
        "right_upper_arm": (4, 6),
        "right_lower_arm": (6, 8),
        "thigh": (9, 10, 11, 12, 15),
        "left_lower_leg": (11, 13),
        "right_lower_leg": (12, 14),
    },
}


def partitions_as_indices(skeleton: Skeleton, order: tuple[int, ...]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Every partition with keypoint k written as its place in `order`."""
    return {
        name: {part: tuple(order.index(skeleton.index(k)) for k in keypoints) for part, keypoints in partition.items()}
        for name, partition in skeleton.partitions.items()
    }


def test_coco_partitions_are_those_of_table_i() -> None:
    assert partitions_as_indices(COCO17, tuple(range(17))) == TABLE_I_COCO


def test_mpii_partitions_are_those_of_table_i_in_the_authors_order() -> None:
    assert partitions_as_indices(MPII16, AUTHORS_MPII) == TABLE_I_MPII


def test_lsp_partitions_are_mpii_s_without_thorax_and_pelvis() -> None:
    names = {"upper_neck": "neck"}
    left_out = ("thorax", "pelvis")
    for name, partition in MPII16.partitions.items():
        expected = {
            part: tuple(names.get(keypoint, keypoint) for keypoint in keypoints if keypoint not in left_out)
            for part, keypoints in partition.items()
        }
        assert LSP14.partition(name) == expected


@every_partition
def test_partition_covers_all_keypoints(skeleton: Skeleton, name: str) -> None:
    assert {keypoint for part in skeleton.partition(name).values() for keypoint in part} == set(skeleton.keypoints)


@every_partition
def test_only_the_partition_of_eight_shares_keypoints(skeleton: Skeleton, name: str) -> None:
    members = [keypoint for part in skeleton.partition(name).values() for keypoint in part]
    shared = {keypoint for keypoint in members if members.count(keypoint) > 1}
    limbs = {f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "knee")}
    assert shared == (limbs if name == "8" else set())


@every_partition
def test_mirroring_maps_parts_onto_parts(skeleton: Skeleton, name: str) -> None:
    parts = {frozenset(map(skeleton.index, part)) for part in skeleton.partition(name).values()}
    assert {frozenset(skeleton.flip_permutation[k] for k in part) for part in parts} == parts


@every_skeleton
def test_flip_is_an_involution_that_swaps_left_and_right(skeleton: Skeleton) -> None:
    flip = skeleton.flip_permutation
    assert [flip[flip[k]] for k in range(skeleton.num_keypoints)] == list(range(skeleton.num_keypoints))
    for keypoint, mirrored in zip(skeleton.keypoints, (skeleton.keypoints[k] for k in flip), strict=True):
        side, _, rest = keypoint.partition("_")
        other = {"left": "right", "right": "left"}.get(side)
        assert mirrored == (f"{other}_{rest}" if other else keypoint)


@every_skeleton
def test_limbs_join_all_keypoints_but_the_face_as_one_body(skeleton: Skeleton) -> None:
    for a, b in skeleton.limb_indices:
        assert 0 <= a < skeleton.num_keypoints
        assert 0 <= b < skeleton.num_keypoints
        assert a != b
    limbs = {frozenset(limb) for limb in skeleton.limb_indices}
    assert len(limbs) == len(skeleton.limb_indices)
    flip = skeleton.flip_permutation
    assert {frozenset(flip[k] for k in limb) for limb in limbs} == limbs
    assert {k for limb in limbs for k in limb} == set(range(skeleton.num_keypoints))


@every_skeleton
def test_one_sigma_a_keypoint_equal_on_both_sides(skeleton: Skeleton) -> None:
    assert len(skeleton.sigmas) == skeleton.num_keypoints
    assert all(sigma > 0 for sigma in skeleton.sigmas)
    assert [skeleton.sigmas[k] for k in skeleton.flip_permutation] == list(skeleton.sigmas)


def test_unknown_names_are_answered_with_suggestions() -> None:
    with pytest.raises(UserError, match=r"unknown skeleton 'coco'; did you mean 'coco17'\?"):
        named_skeleton("coco")
    with pytest.raises(
        UserError, match=r"unknown keypoint of skeleton coco17 'left_elbo'; did you mean 'left_elbow'\?"
    ):
        COCO17.index("left_elbo")
    with pytest.raises(UserError, match=r"unknown partition of skeleton lsp14 '4'.*known: 1, 3, 5, 8"):
        LSP14.partition("4")


# Skeletons of users

CAT = """\
name: cat
keypoints: [nose, left_paw, right_paw, tail]
mirror_pairs: [[left_paw, right_paw]]
limbs: [[nose, left_paw], [nose, right_paw], [nose, tail]]
sigmas: [0.03, 5e-2, 0.05, 0.1]
partitions:
  2:
    front: [nose, left_paw, right_paw]
    back: [tail, nose]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "skeleton.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_user_s_skeleton_is_read(tmp_path: Path) -> None:
    cat = read_skeleton(written(tmp_path, CAT))
    assert cat == Skeleton(
        name="cat",
        keypoints=("nose", "left_paw", "right_paw", "tail"),
        mirror_pairs=(("left_paw", "right_paw"),),
        limbs=(("nose", "left_paw"), ("nose", "right_paw"), ("nose", "tail")),
        sigmas=(0.03, 0.05, 0.05, 0.1),
        partitions={"2": {"front": ("nose", "left_paw", "right_paw"), "back": ("tail", "nose")}},
    )
    assert cat.flip_permutation == (0, 2, 1, 3)
    assert cat.partition("1") == {"all": cat.keypoints}


def test_keypoints_alone_are_a_skeleton(tmp_path: Path) -> None:
    dots = read_skeleton(written(tmp_path, "keypoints: [a, b]"))
    assert (dots.limb_indices, dots.flip_permutation, list(dots.partitions)) == ((), (0, 1), ["1"])
    assert len(dots.sigmas) == 2


BAD = [
    ("tail]]\nsig", "tial]]\nsig", "limbs names the unknown keypoint 'tial'; did you mean 'tail'?"),
    ("[nose, tail]]", "[nose, nose]]", "limbs pairs 'nose' with itself"),
    ("[nose, tail]]", "[nose]]", "limbs.2"),
    ("[[left_paw, right_paw]]", "[[left_paw, left_paw]]", "mirror_pairs pairs 'left_paw' with itself"),
    ("[[left_paw, right_paw]]", "[[left_paw, paw]]", "mirror_pairs names the unknown keypoint 'paw'"),
    (
        "[[left_paw, right_paw]]",
        "[[left_paw, right_paw], [tail, left_paw]]",
        "mirror_pairs uses a keypoint in two pairs",
    ),
    ("[0.03,", "[0,", "sigmas holds 0"),
    ("[0.03,", "[-0.03,", "sigmas holds -0.03"),
    ("[0.03,", "[.nan,", "sigmas"),
    ("[0.03,", "[.inf,", "sigmas"),
    ("[0.03,", "[wide,", "sigmas.0"),
    ("[0.03,", "[", "sigmas has 3 entries; allowed: 4"),
    ("[tail, nose]", "[nose]", "partitions.2 leaves out tail"),
    ("[tail, nose]", "[tail, tail]", "partitions.2.back lists a keypoint twice"),
    ("[tail, nose]", "[]", "partitions.2.back is empty"),
    (
        "[tail, nose]",
        "[tail, nos]",
        "partitions.2.back names the unknown keypoint 'nos'; did you mean 'nose'?",
    ),
    (
        "[nose, left_paw, right_paw, tail]\nm",
        "[nose, nose, right_paw, tail]\nm",
        "keypoints lists a name twice",
    ),
    ("keypoints: [nose, left_paw, right_paw, tail]", "keypoints: []", "keypoints is empty"),
    ("keypoints: [nose, left_paw, right_paw, tail]\n", "", "keypoints"),
    ("mirror_pairs:", "mirror_pair:", "mirror_pair: unknown key; did you mean 'mirror_pairs'?"),
    ("name: cat", "name: cat\nname: dog", "has the key 'name' twice, line"),
    ("name: cat", "name: [cat", "is not YAML"),
    (CAT, "- nose\n- tail\n", "skeleton.yaml"),
    (CAT, "", "keypoints"),
]


@pytest.mark.parametrize(("good", "bad", "message"), BAD, ids=[message for _, _, message in BAD])
def test_a_bad_skeleton_is_refused_by_field(tmp_path: Path, good: str, bad: str, message: str) -> None:
    assert CAT.count(good) == 1
    with pytest.raises(UserError) as refused:
        read_skeleton(written(tmp_path, CAT.replace(good, bad)))
    assert refused.value.code == "bad-skeleton"
    assert message in str(refused.value)
    assert "skeleton.yaml" in str(refused.value)


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    text = CAT.replace("limbs:", "limb:").replace("0.03", "wide").replace("name: cat", "name: 3")
    with pytest.raises(UserError) as refused:
        read_skeleton(written(tmp_path, text))
    for field in ("limb: unknown key; did you mean 'limbs'?", "sigmas.0: ", "name: "):
        assert field in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.yaml does not exist") as refused:
        read_skeleton(tmp_path / "nothing.yaml")
    assert refused.value.code == "missing-file"


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "skeleton.yaml"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match="is not a text file") as refused:
        read_skeleton(path)
    assert refused.value.code == "bad-skeleton"


words = st.text("abcdefgh_ é", min_size=1, max_size=6)


@st.composite
def skeletons(draw: st.DrawFn) -> Skeleton:
    """Any valid skeleton of up to eight keypoints."""
    keypoints = tuple(draw(st.lists(words, min_size=1, max_size=8, unique=True)))
    shuffled = draw(st.permutations(keypoints))
    num_pairs = draw(st.integers(0, len(keypoints) // 2))
    pair = st.lists(st.sampled_from(keypoints), min_size=2, max_size=2, unique=True)
    some = st.lists(st.sampled_from(keypoints), min_size=1, unique=True).map(tuple)
    parts: dict[str, Any] = draw(st.dictionaries(words, some, max_size=3))
    sigma = st.floats(0, 10, exclude_min=True, allow_subnormal=False)
    return Skeleton(
        name=draw(words),
        keypoints=keypoints,
        mirror_pairs=tuple((shuffled[2 * i], shuffled[2 * i + 1]) for i in range(num_pairs)),
        limbs=() if len(keypoints) < 2 else tuple((a, b) for a, b in draw(st.lists(pair, max_size=4))),
        sigmas=tuple(draw(st.lists(sigma, min_size=len(keypoints), max_size=len(keypoints)))),
        partitions={"own": {**parts, "whole": keypoints}},
    )


@given(skeletons())
def test_a_skeleton_survives_json(skeleton: Skeleton) -> None:
    text = documents.to_json(skeleton)
    again = documents.from_json(Skeleton, text, code="bad-skeleton", where="test")
    assert again == skeleton
    assert documents.to_json(again) == text
    assert all(math.isclose(a, b, rel_tol=0) for a, b in zip(again.sigmas, skeleton.sigmas, strict=True))


@given(skeletons())
def test_flipping_any_skeleton_twice_changes_nothing(skeleton: Skeleton) -> None:
    flip = skeleton.flip_permutation
    assert tuple(flip[k] for k in flip) == tuple(range(skeleton.num_keypoints))
