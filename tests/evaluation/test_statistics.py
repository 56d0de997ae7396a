"""Statistics over seeds and persons: scipy where it has them, closed forms, and coverage by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from posefabric.errors import UserError
from posefabric.evaluation.statistics import (
    detectable_difference,
    holm,
    paired_difference,
    rank_correlation,
    relative_improvement,
    seed_difference,
    spread,
)


def arms(seed: int, num_seeds: int = 3, num_persons: int = 60, shift: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Two arms that agree on who is hard: scores in [0, 1], skewed as those of persons are."""
    random = np.random.default_rng(seed)
    easy = random.beta(4, 1, size=num_persons)
    first, second = (np.clip(easy + random.normal(0, 0.1, (num_seeds, num_persons)), 0, 1) for _ in range(2))
    return first + shift, second


def test_spread_by_hand() -> None:
    assert spread([1.0, 2.0, 4.0]).mean == pytest.approx(7 / 3)
    assert spread([1.0, 2.0, 4.0]).sd == pytest.approx((7 / 3) ** 0.5)
    assert np.isnan(spread([1.0]).sd)


def test_the_interval_is_scipys() -> None:
    random = np.random.default_rng(1)
    first, second = random.gamma(1.0, 1.0, (1, 40)), random.normal(0.5, 0.1, (1, 40))
    found = paired_difference(first, second, resamples=40_000)
    other = stats.bootstrap(((first - second)[0],), np.mean, n_resamples=40_000, method="BCa", rng=2)
    width = found.high - found.low
    assert found.estimate == pytest.approx((first - second).mean())
    assert found.low == pytest.approx(other.confidence_interval.low, abs=0.02 * width)
    assert found.high == pytest.approx(other.confidence_interval.high, abs=0.02 * width)


def test_many_persons_give_the_normal_interval() -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(0.1, 1, (2, 5000)), random.normal(0, 1, (2, 5000))
    found = paired_difference(first, second)
    half = 1.96 * (first - second).mean(axis=0).std() / 5000**0.5
    assert (found.low, found.high) == pytest.approx((found.estimate - half, found.estimate + half), abs=0.06 * half)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(found.estimate / half * 1.96), abs=0.01)


def test_coverage_of_the_interval_over_persons() -> None:
    """Exponential differences of 200 persons with weights, a hard case; the true mean is 0.3. Seeded."""
    random = np.random.default_rng(0)
    inside = []
    for trial in range(400):
        weights = random.integers(1, 15, size=200).astype(float)
        difference = random.exponential(0.3, (1, 200))
        found = paired_difference(difference, np.zeros((1, 200)), weights, resamples=1000, seed=trial)
        inside.append(found.low <= 0.3 <= found.high)
    assert 0.92 <= np.mean(inside) <= 0.97


def test_p_values_of_arms_that_do_not_differ_are_uniform() -> None:
    random = np.random.default_rng(5)
    values = [
        paired_difference(*random.normal(0, 1, (2, 2, 50)), resamples=1000, seed=trial).p_value for trial in range(300)
    ]
    assert stats.kstest(values, "uniform").pvalue > 0.01


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 0.99))
def test_p_value_and_interval_tell_the_same(seed: int, level: float) -> None:
    first, second = arms(seed, shift=0.02)
    found = paired_difference(first, second, level=level)
    excluded = found.low > 0 or found.high < 0
    assert excluded == (found.p_value < 1 - level) or found.p_value == pytest.approx(1 - level, abs=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_exchanged_arms_and_permuted_persons_and_seeds(seed: int) -> None:
    first, second = arms(seed)
    weights = np.random.default_rng(seed).integers(1, 10, size=first.shape[1]).astype(float)
    found = paired_difference(first, second, weights, resamples=2000)
    turned = paired_difference(second, first, weights, resamples=2000)
    assert (turned.estimate, turned.low, turned.high) == pytest.approx((-found.estimate, -found.high, -found.low))
    assert turned.p_value == pytest.approx(found.p_value, abs=1e-9)
    seeds, persons = np.random.default_rng(seed).permutation(3), np.random.default_rng(seed).permutation(60)
    shuffled = paired_difference(
        first[seeds][:, persons], second[seeds][:, persons], weights[persons], resamples=20_000
    )
    width = found.high - found.low
    assert shuffled.estimate == pytest.approx(found.estimate)
    assert (shuffled.low, shuffled.high) == pytest.approx((found.low, found.high), abs=0.1 * width)
    assert paired_difference(first, second, weights, resamples=2000) == found


def test_pairing_takes_out_who_is_hard() -> None:
    """The paired interval is narrower than that of arms whose persons are drawn apart."""
    first, second = arms(7)
    found = paired_difference(first, second)
    apart = stats.norm.ppf(0.975) * np.hypot(*(arm.mean(axis=0).std() / 60**0.5 for arm in (first, second)))
    assert found.high - found.low < 0.7 * 2 * apart


def test_persons_without_weight_do_not_count() -> None:
    first, second = arms(8)
    weights = np.ones(60)
    weights[10:] = 0
    first[:, 10:] = np.nan
    assert paired_difference(first, second, weights) == paired_difference(first[:, :10], second[:, :10])


def test_arms_that_are_equal_differ_by_nothing() -> None:
    first, _ = arms(9)
    found = paired_difference(first, first)
    assert (found.low, found.estimate, found.high, found.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("first", "second", "weights"),
    [
        (np.zeros((2, 5)), np.zeros((2, 6)), None),
        (np.zeros((2, 5)), np.zeros((3, 5)), None),
        (np.zeros((2, 5)), np.zeros((2, 5)), np.ones(4)),
        (np.zeros((2, 5)), np.zeros((2, 5)), np.zeros(5)),
        (np.zeros((2, 5)), np.zeros((2, 5)), np.eye(5)[0]),
        (np.zeros((2, 5)), np.full((2, 5), np.nan), None),
    ],
)
def test_scores_that_do_not_pair_are_refused(first: np.ndarray, second: np.ndarray, weights: np.ndarray | None) -> None:
    with pytest.raises(UserError) as caught:
        paired_difference(first, second, weights)
    assert caught.value.code == "bad-prediction"


def test_the_interval_over_seeds_is_students() -> None:
    first, second = [0.80, 0.83, 0.79, 0.86], [0.78, 0.80, 0.80, 0.81]
    found, theirs = seed_difference(first, second), stats.ttest_rel(first, second)
    ends = theirs.confidence_interval(0.95)
    assert (found.low, found.high, found.p_value) == pytest.approx((ends.low, ends.high, theirs.pvalue))
    assert seed_difference([1.0, 2.0], [0.5, 1.5]).p_value == 0
    for wrong in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(UserError, match="seeds against 2" if len(wrong) > 1 else "1 seeds against 1"):
            seed_difference(wrong, wrong if len(wrong) == 1 else [1.0, 2.0])


def test_holm_by_hand() -> None:
    """Holm's own steps: 3, 2, 1 times the sorted values, never falling."""
    assert holm({"A-B": 0.02, "A-C": 0.01, "A-D": 0.015}) == pytest.approx({"A-B": 0.03, "A-C": 0.03, "A-D": 0.03})
    assert holm({"A-B": 0.04, "A-C": 0.01}) == pytest.approx({"A-B": 0.04, "A-C": 0.02})
    assert list(holm({"b": 0.9, "a": 0.1})) == ["b", "a"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_monotone_between_the_value_and_bonferroni(values: list[float]) -> None:
    given_values = {str(i): value for i, value in enumerate(values)}
    found = holm(given_values)
    order = sorted(given_values, key=lambda name: given_values[name])
    assert all(found[a] <= found[b] for a, b in itertools.pairwise(order))
    for name, value in given_values.items():
        assert value <= found[name] <= min(1.0, len(values) * value)
    assert found[order[0]] == min(1.0, len(values) * given_values[order[0]])


def test_relative_improvement() -> None:
    assert relative_improvement([0.63, 0.63], [0.5, 0.7]) == pytest.approx(5.0)
    assert relative_improvement([0.5, 0.7], [0.5, 0.7]) == 0
    with pytest.raises(UserError, match="above 0"):
        relative_improvement([0.5], [0.0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_tau_is_scipys(pairs: list[tuple[int, int]]) -> None:
    first, second = ([float(pair[i]) for pair in pairs] for i in (0, 1))
    found = rank_correlation(first, second, resamples=50)
    theirs = stats.kendalltau(first, second).statistic
    assert found.estimate == pytest.approx(theirs, nan_ok=True)
    turned = rank_correlation(first, [-value for value in second], resamples=50)
    assert turned.estimate == pytest.approx(-theirs, nan_ok=True)


def test_resampled_tau_is_that_of_the_drawn_rows() -> None:
    """The fast form with counts equals scipy's on rows that are repeated: the spreads agree."""
    random = np.random.default_rng(4)
    first = random.normal(size=25)
    second = first + random.normal(size=25)
    found = rank_correlation(first.tolist(), second.tolist(), resamples=20_000)
    rows = random.integers(25, size=(3000, 25))
    slow = [stats.kendalltau(first[row], second[row]).statistic for row in rows]
    low, high = np.quantile(slow, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1)
    assert found.low < found.estimate < found.high


def test_coverage_of_the_interval_of_tau() -> None:
    """Bivariate normal of correlation 0.5, whose tau is 2 / pi * arcsin(0.5) = 1 / 3; 30 architectures."""
    random = np.random.default_rng(6)
    inside = []
    for trial in range(300):
        first = random.normal(size=30)
        second = 0.5 * first + 0.75**0.5 * random.normal(size=30)
        found = rank_correlation(first.tolist(), second.tolist(), resamples=600, seed=trial)
        inside.append(found.low <= 1 / 3 <= found.high)
    assert 0.90 <= np.mean(inside) <= 0.98


def test_a_constant_score_ranks_nothing() -> None:
    assert np.isnan(rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).estimate)
    with pytest.raises(UserError, match="3 at least"):
        rank_correlation([1.0, 2.0], [1.0, 2.0])


@pytest.mark.parametrize(("num_seeds", "in_sd"), [(5, 2.02), (10, 1.32), (64, 0.499)])
def test_detectable_difference_of_textbooks(num_seeds: int, in_sd: float) -> None:
    """Cohen's tables: 64 a group find half a standard deviation with a power of 80 %."""
    assert detectable_difference(1.0, num_seeds) == pytest.approx(in_sd, abs=0.005)
    assert detectable_difference(0.5, num_seeds) == pytest.approx(in_sd / 2, abs=0.003)


def test_the_detectable_difference_is_found_with_its_power() -> None:
    random = np.random.default_rng(2)
    shift = detectable_difference(1.0, 6)
    first, second = random.normal(shift, 1, (20_000, 6)), random.normal(0, 1, (20_000, 6))
    assert (stats.ttest_ind(first, second, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.01)
    with pytest.raises(UserError, match="2 at least"):
        detectable_difference(1.0, 1)
