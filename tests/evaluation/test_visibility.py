"""The threshold of visibility: the best F1 there is, and what happens at its ends."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from posefabric.data.records import PersonRecord
from posefabric.evaluation.predictions import CONFIDENT
from posefabric.evaluation.visibility import calibrated_threshold

SIGMAS = (0.1, 0.05, 0.08)
AREA = 2500.0


def persons(num: int, visibility: np.ndarray | None = None) -> list[PersonRecord]:
    shown = np.full((num, 3), 2) if visibility is None else visibility
    return [PersonRecord(i, i, np.array([0.0, 0, 9, 9]), np.zeros((3, 2)), shown[i], AREA) for i in range(num)]


def at_similarity(values: np.ndarray) -> np.ndarray:
    """Keypoints so far right of the labels (all at 0, 0) that they have these similarities."""
    distance_px = np.sqrt(-2 * np.log(values)) * 2 * np.array(SIGMAS) * np.sqrt(AREA)
    return np.stack([distance_px, np.zeros_like(distance_px)], axis=-1)


def f1_at(threshold: float, scores: np.ndarray, found: np.ndarray) -> float:
    shown = scores >= threshold
    return float(2 * (shown & found).sum() / (shown.sum() + found.sum()))


@given(st.integers(0, 2**32), st.integers(1, 8), st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_other_threshold_has_a_better_f1_and_of_equal_ones_it_is_the_highest(
    seed: int, num: int, tied: bool
) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.uniform(0.01, 0.99, (num, 3))
    visibility = rng.integers(0, 3, (num, 3))
    scores = rng.uniform(0, 1, (num, 3))
    if tied:
        scores = scores.round(1)
    found = (similarity >= 0.5) & (visibility > 0)
    threshold = calibrated_threshold(at_similarity(similarity), scores, persons(num, visibility), SIGMAS)
    if found.any():
        assert threshold in scores
        best = f1_at(threshold, scores, found)
        for other in (*scores.ravel().tolist(), *rng.uniform(0, 1, 20).tolist()):
            assert f1_at(other, scores, found) <= best + 1e-12
            assert other <= threshold or f1_at(other, scores, found) < best
    else:
        assert not (scores >= threshold).any()


def test_scores_that_separate_are_separated() -> None:
    similarity = np.array([[0.9, 0.8, 0.51], [0.49, 0.1, 0.7]])
    scores = np.array([[0.9, 0.8, 0.6], [0.5, 0.1, 0.7]])
    assert calibrated_threshold(at_similarity(similarity), scores, persons(2), SIGMAS) == 0.6


def test_an_unlabelled_keypoint_is_not_found_wherever_it_is() -> None:
    visibility = np.array([[2, 2, 0]])
    scores = np.array([[0.9, 0.8, 0.7]])
    assert calibrated_threshold(np.zeros((1, 3, 2)), scores, persons(1, visibility), SIGMAS) == 0.8


def test_all_found_none_found_and_nobody() -> None:
    scores = np.array([[0.9, 0.2, 0.7]])
    assert calibrated_threshold(np.zeros((1, 3, 2)), scores, persons(1), SIGMAS) == 0.2
    nothing = calibrated_threshold(np.full((1, 3, 2), 1e4), scores, persons(1), SIGMAS)
    assert 0.9 < nothing < 0.9 + 1e-12
    assert calibrated_threshold(np.zeros((0, 3, 2)), np.zeros((0, 3)), [], SIGMAS) == CONFIDENT


def test_float32_scores_compare_with_the_threshold_as_they_should() -> None:
    scores = np.array([[0.9, 0.1, 0.3]], dtype=np.float32)
    threshold = calibrated_threshold(np.zeros((1, 3, 2)), scores, persons(1), SIGMAS)
    assert (scores >= threshold).all()
    nothing = calibrated_threshold(np.full((1, 3, 2), 1e4), scores, persons(1), SIGMAS)
    assert not (scores >= nothing).any()
