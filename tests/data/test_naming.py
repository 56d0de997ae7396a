"""What names tell: sides, pairs, words in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefabric.data import naming
from posefabric.skeletons import SKELETONS, Skeleton

STYLES = {
    "snake": "left_{} right_{}",
    "suffix": "{}_left {}_right",
    "letters": "l_{} r_{}",
    "capital": "L{0} R{0}",
    "capital suffix": "{}L {}R",
    "camel": "left{0} right{0}",
    "words": "Left|{} Right|{}",
    "glued": "left{lower} right{lower}",
    "glued letter": "l{lower} r{lower}",
    "glued suffix": "{lower}left {lower}right",
}


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_pairs_are_found_however_sides_are_written(style: str) -> None:
    pairs = []
    for word in ("Eye", "Knee", "Paw"):
        left, right = (text.format(word, word, lower=word.lower()).replace("|", " ") for text in style.split(" "))
        pairs.append((left, right))
    names = [name for pair in pairs for name in reversed(pair)] + ["Nose"]
    assert naming.guess_mirror_pairs(names) == tuple(pairs)
    assert naming.unpaired(names, pairs) == ["Nose"]


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_the_pairs_of_known_skeletons_are_found(skeleton: Skeleton) -> None:
    assert set(naming.guess_mirror_pairs(skeleton.keypoints)) == set(skeleton.mirror_pairs)


def test_two_sides_in_a_name_are_both_exchanged() -> None:
    names = ["l_eye_l_corner", "l_eye_r_corner", "r_eye_l_corner", "r_eye_r_corner"]
    assert set(naming.guess_mirror_pairs(names)) == {(names[0], names[3]), (names[1], names[2])}


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=12, unique=True))
def test_any_names_give_pairs_a_skeleton_accepts(names: list[str]) -> None:
    pairs = naming.guess_mirror_pairs(names)
    Skeleton(keypoints=tuple(names), mirror_pairs=pairs)
    parts = naming.name_parts([[name] for name in names])
    assert len(set(parts)) == len(parts) == len(names)


def test_sigmas_are_known_however_the_name_is_written() -> None:
    assert {naming.known_sigma(name) for name in ("left_eye", "Left Eye", "LEye", "eyeL")} == {0.025}
    assert naming.known_sigma("tail") is None


def test_parts_are_called_by_what_their_keypoints_share() -> None:
    parts = [
        ["left_elbow", "left_wrist"],
        ["nose", "left_eye", "right_eye"],
        [f"face-{i}" for i in range(9)],
        list("abcde"),
    ]
    assert naming.name_parts(parts) == ["left_elbow_wrist", "nose_eye", "face", "part4"]


def test_what_all_keypoints_of_a_part_share_is_its_name() -> None:
    fingers = [[f"{finger}_{bone}" for bone in ("mcp", "pip", "dip", "tip")] for finger in ("thumb", "index")]
    toes = ["left_big_toe", "left_small_toe", "left_heel"]
    assert naming.name_parts([*fingers, ["wrist", "ring_tip", "ring_dip"], toes]) == [
        "thumb",
        "index",
        "ring",
        "left_toe",
    ]
    assert naming.name_parts([[f"left_ring_finger{i}" for i in range(4)]]) == ["left_ring_finger"]
    assert naming.name_parts([["thumb_mcp", "index_dip", "ring_pip"]]) == ["part1"]


def test_mirrored_parts_differ_in_their_sides_alone() -> None:
    parts = [["right_ankle", "right_knee", "right_hip"], ["left_hip", "left_knee", "left_ankle"]]
    assert naming.name_parts(parts) == ["right_ankle_knee_hip", "left_ankle_knee_hip"]
