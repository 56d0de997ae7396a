"""Left and right: how mirror pairs stand on the image, and which persons may have them exchanged.

Where it stands in the walk: beside stage 1; `data view` shows it. Labels of the person's own left and right are easily
exchanged, for the whole person or for one limb; a net learns the mistake.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from posefabric.data.guesses.placement import Places
from posefabric.skeletons import Skeleton

LOG_ODDS = 5.0
"""How much likelier (natural log) a person must be with some pairs exchanged to be a suspect."""

MIN_PERSONS = 50
"""Persons needed to know how the pairs of one person go together."""

MAX_PAIRS = 10
"""With more pairs than this, exchanges of single pairs alone are tried."""


@dataclass(frozen=True)
class PairOrder:
    """A mirror pair over all persons who have both: mean places in the box, and how often left stands left of right.

    `left_first` is the share of persons whose left keypoint is further left on the image: they face away from the
    camera, or their labels are exchanged; None where nobody has both.
    """

    left: str
    right: str
    left_xy: tuple[float, float] | None
    right_xy: tuple[float, float] | None
    left_first: float | None
    num_persons: int


@dataclass(frozen=True)
class Suspect:
    """A person (by row) who fits the others better with the left and right of some pairs exchanged."""

    row: int
    pairs: tuple[tuple[str, str], ...]
    log_odds: float


def pair_orders(skeleton: Skeleton, places: Places) -> list[PairOrder]:
    """Every mirror pair as a dataset shows it."""
    orders = []
    for left, right in skeleton.mirror_pairs:
        both = places[:, [skeleton.index(left), skeleton.index(right)]]
        both = both[np.isfinite(both).all(axis=(1, 2))]
        if not len(both):
            orders.append(PairOrder(left, right, None, None, None, 0))
            continue
        (ax, ay), (bx, by) = both.mean(axis=0).tolist()
        first = float((both[:, 0, 0] < both[:, 1, 0]).mean())
        orders.append(PairOrder(left, right, (ax, ay), (bx, by), first, len(both)))
    return orders


def suspects(skeleton: Skeleton, places: Places, threshold: float = LOG_ODDS) -> list[Suspect]:
    """Persons whose pairs contradict each other, the worst first; nobody where there is too little to judge by.

    The vectors from right to left of a person's pairs go together: who has the left shoulder to the right has the left
    hip there too. Their Gaussian over all persons says how much likelier a person would be with the vectors of up to
    half the pairs turned round. Somebody with *all* pairs exchanged is, to this test, someone who faces the other way.
    """
    pairs = skeleton.mirror_pairs
    indices = np.array([[skeleton.index(name) for name in pair] for pair in pairs], dtype=np.int64).reshape(-1, 2)
    vectors = places[:, indices[:, 0]] - places[:, indices[:, 1]]  # N P 2
    if len(pairs) < 2 or len(places) < MIN_PERSONS:
        return []
    mean, covariance = _gaussian(vectors.reshape(len(places), -1))
    found = []
    for rows, seen in _patterns(np.isfinite(vectors).all(axis=2)):
        axes = np.flatnonzero(np.repeat(seen, 2))
        precision = np.linalg.inv(covariance[np.ix_(axes, axes)])
        signs = _exchanges(int(seen.sum()))
        gains = _gains(vectors[rows][:, seen].reshape(len(rows), -1), signs, mean[axes], precision)
        names = [pair for pair, known in zip(pairs, seen, strict=True) if known]
        for row, gain in zip(rows, gains, strict=True):
            best = int(gain.argmax())
            if gain[best] > threshold:
                turned = tuple(pair for pair, sign in zip(names, signs[best], strict=True) if sign < 0)
                found.append(Suspect(int(row), turned, float(gain[best])))
    return sorted(found, key=lambda suspect: (-suspect.log_odds, suspect.row))


def _gains(
    vectors: Float[np.ndarray, "N D"],
    signs: Float[np.ndarray, "C P"],
    mean: Float[np.ndarray, " D"],
    precision: Float[np.ndarray, "D D"],
) -> Float[np.ndarray, "N C"]:
    """The log-odds of every exchange for every person."""
    turned = np.repeat(signs, 2, axis=1)  # C D
    before = vectors - mean
    energy = np.einsum("nd,de,ne->n", before, precision, before)
    gains = np.empty((len(vectors), len(signs)))
    for column, sign in enumerate(turned):
        after = sign * vectors - mean
        gains[:, column] = (energy - np.einsum("nd,de,ne->n", after, precision, after)) / 2
    return gains


def _exchanges(count: int) -> Float[np.ndarray, "C P"]:
    """Signs of pairs, -1 where one is exchanged: every choice of up to half of them."""
    most = count // 2 if count <= MAX_PAIRS else 1
    choices = [chosen for size in range(1, most + 1) for chosen in itertools.combinations(range(count), size)]
    signs = np.ones((len(choices), count))
    for row, chosen in zip(signs, choices, strict=True):
        row[list(chosen)] = -1
    return signs


def _patterns(seen: Bool[np.ndarray, "N P"]) -> Iterator[tuple[Int[np.ndarray, " M"], Bool[np.ndarray, " P"]]]:
    """Persons grouped by the pairs they have, two at least."""
    kinds, group = np.unique(seen, axis=0, return_inverse=True)
    for number, kind in enumerate(kinds):
        if kind.sum() >= 2:
            yield np.flatnonzero(group.ravel() == number), kind


def _gaussian(values: Float[np.ndarray, "N D"]) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, "D D"]]:
    """Mean and covariance from the values there are, the covariance made positive definite."""
    known = np.isfinite(values)
    number = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0).sum(axis=0) / number
    centred = np.where(known, values - mean, 0)
    together = known.astype(np.float64).T @ known
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred / np.maximum(together, 1))
    floor = 0.01 * max(float(eigenvalues.mean()), 1e-6)
    return mean, (vectors * np.maximum(eigenvalues, floor)) @ vectors.T
