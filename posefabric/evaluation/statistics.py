"""What can be said of arms that were trained from several seeds: spread, differences with intervals, rankings.

Where it stands in the walk: after stage 10, over the figures of many runs. An *arm* is one way to get a net; a
*contrast* is the difference of two. Scores of persons come as (S, N): S seeds, N persons, the same in every run.

Intervals are BCa bootstraps (Efron 1987, "Better bootstrap confidence intervals"): unlike percentiles they correct for
bias and for a spread that grows with the value, as bounded scores and rank correlations have; where there is neither,
they are percentiles. Figures depend on `seed` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from posefabric.errors import UserError

RESAMPLES = 4000
"""Our choice: the end of a 95 % interval is known to about 2 % of its half width (standard error)."""
CHUNK = 2_000_000
"""Most persons drawn at once: bounds the memory of a bootstrap."""


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, and the standard deviation of one (n - 1 in its denominator; NaN of a lone seed)."""

    mean: float
    sd: float
    count: int


@dataclass(frozen=True)
class Interval:
    """An estimate, the ends of its interval, and the two-sided p-value of 0: 1 - the widest level that leaves 0 out."""

    estimate: float
    low: float
    high: float
    p_value: float


def spread(scores: Sequence[float]) -> Spread:
    """Of one arm's figure over its seeds."""
    values = np.asarray(scores, dtype=np.float64)
    return Spread(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan, len(values))


def paired_difference(
    first: Float[np.ndarray, "S N"],
    second: Float[np.ndarray, "S N"],
    weights: Float[np.ndarray, " N"] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean score of the first arm less that of the second, with the interval over persons.

    Persons are drawn with replacement, each with all its scores: the same persons for both arms and every seed. A mean
    weighs persons by `weights` (PCK: how many labelled keypoints; 0 leaves a person out, whose scores may then be NaN).
    The interval speaks of *these* trained nets on other persons; other seeds are `seed_difference`'s. Where persons of
    one picture should be drawn together, give pictures for persons: their weighted means and summed weights. Below 100
    persons with skewed scores it is too narrow (LOG.md). Scores that do not pair raise `UserError("bad-prediction")`.
    """
    counted = _check_paired(first, second, weights)
    weight = np.ones(first.shape[1]) if weights is None else weights.astype(np.float64)
    weight = weight[counted]
    gain = (first[:, counted] - second[:, counted]).mean(axis=0) * weight
    total, mass, count = gain.sum(), weight.sum(), len(weight)
    random = np.random.default_rng(seed)
    drawn = []
    for size in _chunks(resamples, count):
        chosen = random.integers(count, size=(size, count))
        drawn.append(_ratio(gain[chosen].sum(axis=1), weight[chosen].sum(axis=1)))
    without = _ratio(total - gain, mass - weight)
    return _bca(float(total / mass), np.concatenate(drawn), without, level)


def seed_difference(first: Sequence[float], second: Sequence[float], *, level: float = 0.95) -> Interval:
    """Mean difference of two arms over paired seeds, with Student's interval: what other seeds would give.

    Exact for normal differences; with few seeds far wider than the interval over persons. Fewer than two seeds, or
    numbers of seeds that differ, raise `UserError("bad-value")`.
    """
    if len(first) != len(second) or len(first) < 2:
        raise UserError(
            "bad-value", f"{len(first)} seeds against {len(second)}", "the same number of seeds, 2 at least"
        )
    difference = spread(np.subtract(first, second).tolist())
    error = difference.sd / np.sqrt(difference.count)
    half = float(stats.t.ppf((1 + level) / 2, difference.count - 1) * error)
    if error == 0:
        return Interval(difference.mean, difference.mean, difference.mean, float(difference.mean == 0))
    p_value = float(2 * stats.t.sf(abs(difference.mean) / error, difference.count - 1))
    return Interval(difference.mean, difference.mean - half, difference.mean + half, p_value)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for how many contrasts were named beforehand (Holm 1979), in the order given.

    Contrasts whose adjusted value is below a level hold together at that level, however they depend on each other.
    """
    names = sorted(p_values, key=lambda name: p_values[name])
    adjusted, least = {}, 0.0
    for rank, name in enumerate(names):
        adjusted[name] = least = max(least, min(1.0, (len(names) - rank) * p_values[name]))
    return {name: adjusted[name] for name in p_values}


def relative_improvement(scores: Sequence[float], random_scores: Sequence[float]) -> float:
    """Per cent by which a method's mean score exceeds that of random architectures (Yang et al. 2020, RI)."""
    reference = float(np.mean(random_scores))
    if reference <= 0:
        raise UserError("bad-value", f"random architectures score {reference:g} on average", "above 0")
    return 100 * (float(np.mean(scores)) - reference) / reference


def rank_correlation(
    first: Sequence[float], second: Sequence[float], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Kendall's tau-b of two scores of the same architectures, with the interval over architectures.

    1 is the same ranking, -1 the reverse. Where one score is constant there is no ranking: all is NaN. Draws without a
    ranking are left out. Fewer than 3 architectures, or rows that do not pair, raise `UserError("bad-value")`.
    """
    count = len(first)
    if count != len(second) or count < 3:
        raise UserError("bad-value", f"{count} scores against {len(second)}", "the same number, 3 at least")
    rows = [np.asarray(row, dtype=np.float64) for row in (first, second)]
    signs = [np.sign(row[:, None] - row) for row in rows]
    products = [signs[0] * signs[1], np.abs(signs[0]), np.abs(signs[1])]
    sums = np.array([product.sum() for product in products])
    estimate = float(_tau(sums))
    if np.isnan(estimate):
        return Interval(estimate, estimate, estimate, estimate)
    random = np.random.default_rng(seed)
    drawn = []
    for size in _chunks(resamples, count):
        times = random.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        drawn.append(_tau(np.array([((times @ product) * times).sum(axis=1) for product in products])))
    replicates = np.concatenate(drawn)
    without = _tau(sums[:, None] - 2 * np.array([product.sum(axis=1) for product in products]))
    return _bca(estimate, replicates[~np.isnan(replicates)], without[~np.isnan(without)], level)


def expected_best(scores: Sequence[float], chosen_by: Sequence[float], count: int) -> float:
    """The expected score of the one that is best by another score, of `count` drawn without replacement from all.

    What random search reaches with `count` architectures, `chosen_by` their scores on val. No number from 1 to all of
    them, or rows that do not pair, raise `UserError("bad-value")`.
    """
    total = len(scores)
    if not 1 <= count <= total or total != len(chosen_by):
        raise UserError(
            "bad-value", f"the best of {count} of {total} scores against {len(chosen_by)}", "1 to all of them"
        )
    ranked = np.asarray(scores, dtype=np.float64)[np.argsort(chosen_by, kind="stable")]
    chances = special.comb(np.arange(total), count - 1) / special.comb(total, count)  # that rank r is the best drawn
    return float(ranked @ chances)


def detectable_difference(sd: float, num_seeds: int, *, power: float = 0.8, level: float = 0.95) -> float:
    """The least difference of two arms' means that a two-sided t-test of `num_seeds` seeds each finds with `power`.

    In the unit of `sd`, the standard deviation of one seed; 2.0 sd for 5 seeds, 1.3 for 10. Fewer than two seeds raise
    `UserError("bad-value")`.
    """
    if num_seeds < 2:
        raise UserError("bad-value", f"{num_seeds} seed", "2 at least")
    freedom = 2 * num_seeds - 2
    limit = stats.t.ppf((1 + level) / 2, freedom)
    noncentrality = float(special.nctdtrinc(freedom, 1 - power, limit))  # the far tail adds less than 1e-6
    return sd * noncentrality * float(np.sqrt(2 / num_seeds))


def _tau(sums: Float[np.ndarray, "3 ..."]) -> Any:
    """tau-b from the sums over pairs of: concordant less discordant, untied in the first, untied in the second."""
    untied = np.sqrt(sums[1] * sums[2])
    return np.divide(sums[0], untied, out=np.full_like(untied, np.nan), where=untied > 0)


def _bca(
    estimate: float, replicates: Float[np.ndarray, " R"], without: Float[np.ndarray, " N"], level: float
) -> Interval:
    """Efron's interval from bootstrap replicates and from the estimates `without` one unit each."""
    pull = without.mean() - without
    squares = float((pull**2).sum())
    if squares <= 1e-24 * max(1.0, estimate**2) or replicates.size == 0:
        return Interval(estimate, estimate, estimate, float(estimate == 0))
    skew = float((pull**3).sum()) / (6 * squares**1.5)
    bias = _normal_score(replicates, estimate)

    ends = bias + special.ndtri([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(replicates, special.ndtr(bias + ends / (1 - skew * ends)))
    beyond = _normal_score(replicates, 0.0) - bias
    tail = float(special.ndtr(beyond / (1 + skew * beyond) - bias))
    return Interval(estimate, float(low), float(high), 2 * min(tail, 1 - tail))


def _normal_score(replicates: Float[np.ndarray, " R"], value: float) -> float:
    """The normal quantile of the share of replicates below a value; ties count half, and no share is 0 or 1."""
    below = (replicates < value).sum() + (replicates == value).sum() / 2
    return float(special.ndtri((below + 0.5) / (len(replicates) + 1)))


def _check_paired(first: np.ndarray, second: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Which persons count."""
    if first.shape != second.shape or (weights is not None and weights.shape != first.shape[1:]):
        shapes = [row.shape for row in (first, second, weights) if row is not None]
        raise UserError("bad-prediction", f"scores of the shapes {shapes}", "the same seeds and persons in both arms")
    counted = np.ones(first.shape[1], dtype=bool) if weights is None else weights > 0
    if counted.sum() < 2 or not np.isfinite([first[:, counted], second[:, counted]]).all():
        given = f"{counted.sum()} persons that count, or one whose score is not finite"
        raise UserError("bad-prediction", given, "2 persons at least, a number for each")
    return counted


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Of draws that hold a person with weight."""
    return np.asarray(numerator[denominator > 0] / denominator[denominator > 0])


def _chunks(resamples: int, count: int) -> list[int]:
    """Sizes of the pieces in which resamples of so many units are drawn."""
    size = max(1, CHUNK // count)
    return [min(size, resamples - start) for start in range(0, resamples, size)]
