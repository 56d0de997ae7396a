"""Where keypoints lie within their persons' boxes, for many persons at once: what a dataset looks like as a whole.

Where it stands in the walk: beside stage 1; `data init` guesses from it and `data view` shows it. The frame: the box's
centre is (0, 0), its longer side is 1, y grows downwards; a keypoint nobody labelled is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from posefabric.data.records import PersonRecord
from posefabric.skeletons import DEFAULT_SIGMA, Skeleton

Places = Float[np.ndarray, "N K 2"]
Distances = Float[np.ndarray, "K K"]

MIN_REPEATS = 30
"""Persons annotated twice who are needed before sigmas are estimated."""

SAME_BOX, SAME_POSE = 0.5, 0.2
"""Two annotations of one image are taken for one person's if their boxes overlap by more than this (intersection over
union) and their keypoints are less than this apart (median, relative to the root of the area)."""


def place(persons: Iterable[PersonRecord], num_keypoints: int) -> Places:
    """The keypoints of persons in the frame of their boxes; a side of a box counts as at least one pixel."""
    placed = [_place(person) for person in persons]
    return np.stack(placed) if placed else np.empty((0, num_keypoints, 2))


def _place(person: PersonRecord) -> Float[np.ndarray, "K 2"]:
    corners = person.bbox_xyxy.reshape(2, 2)
    longer = max(float((corners[1] - corners[0]).max()), 1.0)
    points: Float[np.ndarray, "K 2"] = (person.keypoints_xy - corners.mean(axis=0)) / longer
    return np.where(person.visibility[:, None] > 0, points, np.nan)


def mean_distances(places: Places) -> Distances:
    """The mean distance of every pair of keypoints, over the persons who have both; infinite where nobody has."""
    count = places.shape[1]
    means = np.full((count, count), np.inf)
    np.fill_diagonal(means, 0)
    for k in range(count):
        lengths = np.linalg.norm(places - places[:, k : k + 1], axis=2)
        seen = np.isfinite(lengths)
        number = seen.sum(axis=0)
        mean = np.where(seen, lengths, 0).sum(axis=0) / np.maximum(number, 1)
        means[k, number > 0] = mean[number > 0]
    np.fill_diagonal(means, 0)
    return means


def typical(places: Places) -> Float[np.ndarray, "K 2"]:
    """One person to draw a body after: of those with most labels, one more spread out than four fifths of them.

    A keypoint this person lacks takes its median place; one nobody has, the box's centre.
    """
    known = np.isfinite(places).all(axis=2)
    count = places.shape[1]
    medians = np.array(
        [np.median(places[known[:, k], k], axis=0) if known[:, k].any() else (0, 0) for k in range(count)]
    )
    if not len(places):
        return medians
    most = np.flatnonzero(known.sum(axis=1) == known.sum(axis=1).max())
    spread = np.nanvar(places[most], axis=1).sum(axis=1)
    person = most[np.argsort(spread, kind="stable")[int(0.8 * (len(most) - 1))]]
    return np.where(known[person][:, None], places[person], medians)


@dataclass(frozen=True)
class MirrorDoubt:
    """A mirror pair that the data do not bear out, with the reason in words."""

    left: str
    right: str
    reason: str


def doubt_pairs(
    skeleton: Skeleton, places: Places, *, tolerance: float = 0.1, min_persons: int = 10
) -> list[MirrorDoubt]:
    """The mirror pairs whose two keypoints do not lie as mirror images do.

    Over many persons, the two should have one mean height and one spread; their mean places are mirror images (seen
    from the front or behind) or the same (seen from the side). Means may differ by `tolerance` of the longer side and
    three standard errors, spreads by a factor of 2. Pairs with fewer than `min_persons` labels a side are not judged.
    """
    doubts = []
    for left, right in skeleton.mirror_pairs:
        a, b = (_labelled(places[:, skeleton.index(name)]) for name in (left, right))
        if min(len(a), len(b)) < min_persons:
            continue
        reason = _difference(a, b, tolerance)
        doubts += [MirrorDoubt(left, right, reason)] if reason else []
    return doubts


def _difference(a: Float[np.ndarray, "N 2"], b: Float[np.ndarray, "M 2"], tolerance: float) -> str:
    error = np.sqrt(a.var(axis=0).sum() / len(a) + b.var(axis=0).sum() / len(b))
    mirrored = a.mean(axis=0) * (-1, 1)
    apart = min(np.linalg.norm(b.mean(axis=0) - mean) for mean in (mirrored, a.mean(axis=0)))
    if apart > tolerance + 3 * error:
        return f"their mean places are {apart:.2f} of the person's longer side from being mirror images"
    spreads = np.sort([np.linalg.norm(points.std(axis=0)) for points in (a, b)]) + 0.01
    if spreads[1] > 2 * spreads[0]:
        return f"one is spread {spreads[1] / spreads[0]:.1f} times as widely as the other"
    return ""


def _labelled(points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "M 2"]:
    labelled: Float[np.ndarray, "M 2"] = points[np.isfinite(points).all(axis=1)]
    return labelled


def estimate_sigmas(persons: Sequence[PersonRecord], skeleton: Skeleton) -> tuple[float, ...] | None:
    """OKS sigmas from persons whom two annotators labelled in the same image, or None where too few are.

    COCO's definition: sigma^2 is the mean of d^2 / area over repeated labels. The difference of two labels has twice
    the variance of one. Because annotators exchange left and right now and then, the mean is taken from the median: of
    the d^2 of Gaussian labels, the median is ln 2 times the mean. A keypoint with fewer than `MIN_REPEATS` repeats
    gets the median of the others.
    """
    repeats = _repeats(persons)
    if len(repeats) < MIN_REPEATS:
        return None
    errors = np.full((len(repeats), skeleton.num_keypoints), np.nan)
    for row, (a, b) in zip(errors, repeats, strict=True):
        both = (a.visibility > 0) & (b.visibility > 0)
        squared = ((a.keypoints_xy - b.keypoints_xy) ** 2).sum(axis=1)
        row[both] = squared[both] / max((a.area + b.area) / 2, 1.0)
    enough = np.isfinite(errors).sum(axis=0) >= MIN_REPEATS
    if not enough.any():
        return None
    sigmas = np.full(skeleton.num_keypoints, np.nan)
    sigmas[enough] = np.sqrt(np.nanmedian(errors[:, enough], axis=0) / (2 * np.log(2)))
    sigmas[~enough] = np.median(sigmas[enough])
    return tuple(round(float(sigma), 4) or DEFAULT_SIGMA for sigma in sigmas)


def _repeats(persons: Sequence[PersonRecord]) -> list[tuple[PersonRecord, PersonRecord]]:
    """Pairs of annotations of one image that are one person's: boxes and most keypoints agree."""
    by_image: dict[int, list[PersonRecord]] = {}
    for person in persons:
        by_image.setdefault(person.image_id, []).append(person)
    pairs = []
    for crowd in by_image.values():
        free = list(crowd)
        while free:
            first = free.pop(0)
            twin = next((other for other in free if _one_person(first, other)), None)
            if twin is not None:
                free = [other for other in free if other is not twin]
                pairs.append((first, twin))
    return pairs


def _one_person(a: PersonRecord, b: PersonRecord) -> bool:
    low, high = np.maximum(a.bbox_xyxy[:2], b.bbox_xyxy[:2]), np.minimum(a.bbox_xyxy[2:], b.bbox_xyxy[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    union = sum(float(np.prod(p.bbox_xyxy[2:] - p.bbox_xyxy[:2])) for p in (a, b)) - common
    both: Bool[np.ndarray, " K"] = (a.visibility > 0) & (b.visibility > 0)
    if union <= 0 or common / union < SAME_BOX or both.sum() < 3:
        return False
    lengths = np.linalg.norm(a.keypoints_xy - b.keypoints_xy, axis=1)[both]
    return bool(np.median(lengths) < SAME_POSE * np.sqrt(max(a.area, 1.0)))
