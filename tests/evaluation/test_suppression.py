"""OKS suppression: a slow version written from the definition, and the properties that make it one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefabric.evaluation.suppression import Suppression, suppress
from posefabric.skeletons import COCO17, LSP14

Poses = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def random_poses(seed: int, num_keypoints: int) -> Poses:
    """Images in any order, poses about few persons, many scores tied, some boxes of no area."""
    rng = np.random.default_rng(seed)
    num = int(rng.choice([0, 1, 2, 5, 12, 30]))
    persons = rng.uniform(0, 200, (4, num_keypoints, 2))
    noise = rng.normal(0, 1, (num, num_keypoints, 2)) * rng.choice([0, 1, 5, 20], num)[:, None, None]
    return (
        persons[rng.integers(0, 4, num)] + noise,
        rng.choice([0.0, 0.3, 0.5, 0.9, rng.random()], num),
        rng.choice([0.0, 400.0, 32.0**2, 5000.0, 40000.0], num),
        rng.choice([7, 3, 900], num),
    )


def slow_oks(first: np.ndarray, second: np.ndarray, area: float, sigmas: tuple[float, ...]) -> float:
    total = 0.0
    for (x1, y1), (x2, y2), sigma in zip(first.tolist(), second.tolist(), sigmas, strict=True):
        squared = (x1 - x2) ** 2 + (y1 - y2) ** 2
        total += math.exp(-squared / (2 * sigma) ** 2 / (area + np.spacing(1)) / 2)
    return total / len(sigmas)


def slowly(poses: Poses, rule: Suppression) -> dict[int, float]:
    """Kept index to score: nothing but loops and lists."""
    keypoints_xy, scores, areas, image_ids = poses
    result: dict[int, float] = {}
    for image_id in set(image_ids.tolist()):
        left = {i: float(scores[i]) for i in range(len(scores)) if image_ids[i] == image_id}
        kept: list[int] = []
        while left and len(kept) < rule.at_most:
            best = max(left, key=lambda i: (left[i], -i))
            kept.append(best)
            result[best] = left.pop(best)
            for i in list(left):
                oks = slow_oks(keypoints_xy[i], keypoints_xy[best], (areas[i] + areas[best]) / 2, rule.sigmas)
                if rule.soft:
                    left[i] *= math.exp(-(oks**2) / rule.threshold)
                elif oks > rule.threshold:
                    del left[i]
    return result


@pytest.mark.parametrize("soft", [False, True])
def test_equal_to_the_slow_version_on_1000_random_sets(soft: bool) -> None:
    dropped = 0
    for seed in range(1000):
        skeleton = (COCO17, LSP14)[seed % 2]
        rule = Suppression(skeleton.sigmas, (0.9, 0.5, 0.2)[seed % 3], soft, (20, 3)[seed % 5 == 0])
        poses = random_poses(seed, skeleton.num_keypoints)
        kept, scores = suppress(*poses, rule)
        expected = slowly(poses, rule)
        assert kept.tolist() == sorted(expected), seed
        np.testing.assert_allclose(scores, [expected[i] for i in kept.tolist()], rtol=0, atol=1e-12, err_msg=str(seed))
        dropped += len(poses[1]) - len(kept)
    assert dropped > 500


@given(st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_hard_suppression_leaves_nobody_twice_and_nothing_more_to_do(seed: int) -> None:
    rule = Suppression(COCO17.sigmas, threshold=0.7, at_most=100)
    poses = random_poses(seed, 17)
    kept, scores = suppress(*poses, rule)
    again, scores_again = suppress(*(values[kept] for values in poses), rule)
    assert again.tolist() == list(range(len(kept)))
    assert scores.tolist() == scores_again.tolist() == poses[1][kept].tolist()
    assert set(poses[3][kept]) == set(poses[3])  # every image keeps its best


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=50, deadline=None)
def test_images_do_not_see_each_other(seed: int, soft: bool) -> None:
    rule = Suppression(COCO17.sigmas, soft=soft)
    poses = random_poses(seed, 17)
    kept, scores = suppress(*poses, rule)
    for image_id in set(poses[3].tolist()):
        alone = np.flatnonzero(poses[3] == image_id)
        kept_alone, scores_alone = suppress(*(values[alone] for values in poses), rule)
        here = poses[3][kept] == image_id
        assert kept[here].tolist() == alone[kept_alone].tolist()
        assert scores[here].tolist() == scores_alone.tolist()


def test_three_copies_of_a_person_leave_the_best_and_the_others_are_all_judged() -> None:
    """The paper's code keeps the third: having deleted the second, it steps over the one behind."""
    pose = np.random.default_rng(0).uniform(0, 100, (17, 2))
    poses = np.stack([pose, pose, pose]), np.array([0.7, 0.9, 0.8]), np.full(3, 5000.0), np.zeros(3, int)
    kept, scores = suppress(*poses, Suppression(COCO17.sigmas))
    assert (kept.tolist(), scores.tolist()) == ([1], [0.9])
    kept, scores = suppress(*poses, Suppression(COCO17.sigmas, soft=True))
    fall = math.exp(-1 / 0.9)
    assert kept.tolist() == [0, 1, 2]
    np.testing.assert_allclose(scores, [0.7 * fall**2, 0.9, 0.8 * fall], atol=1e-12)


def test_the_threshold_itself_is_kept() -> None:
    pose = np.zeros((1, 2))
    poses = np.stack([pose, pose]), np.array([0.5, 0.4]), np.full(2, 100.0), np.zeros(2, int)
    assert suppress(*poses, Suppression((0.1,), threshold=1.0))[0].tolist() == [0, 1]
    assert suppress(*poses, Suppression((0.1,), threshold=0.99))[0].tolist() == [0]
