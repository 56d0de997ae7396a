"""What is wrong with a misplaced keypoint, and where it would stand without that error.

The taxonomy is Ronchi and Perona's ("Benchmarking and Error Diagnosis in Multi-instance Pose Estimation", ICCV 2017),
read off a keypoint's similarity (the summand of OKS) with the labels around it:

- good: 0.85 or more with its own label; jitter: from 0.5 to there
- inversion: 0.5 or more with the mirrored keypoint of its own person (left for right)
- swap: 0.5 or more with the keypoint, or the mirrored one, of another person of the image
- miss: below 0.5 with all of these

The most similar label decides, its own where equally similar, as in the authors' code (coco-analyze).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from posefabric.data.records import GroundTruth
from posefabric.evaluation.oks import similarity
from posefabric.evaluation.pairing import Matches, ScoredPoses, by_image

KINDS = ("good", "jitter", "inversion", "swap", "miss")
NOT_JUDGED = -1
GOOD, NEAR = 0.85, 0.5
"""Similarities from which a keypoint is good, and from which it is near a label at all."""


@dataclass(frozen=True, eq=False)
class KeypointErrors:
    """The kind of every keypoint of N poses (a place in `KINDS`), `NOT_JUDGED` without a person or a label.

    `own` is the similarity with the keypoint's own label, `nearest` with the label that decided; NaN where not judged.
    """

    kinds: Int[np.ndarray, "N K"]
    own: Float[np.ndarray, "N K"]
    nearest: Float[np.ndarray, "N K"]


def keypoint_errors(truth: GroundTruth, poses: ScoredPoses, matches: Matches) -> KeypointErrors:
    """Judge every labelled keypoint of every pose that has a person."""
    shape = poses.keypoints_xy.shape[:2]
    own, inverted, swapped = (np.full(shape, np.nan) for _ in range(3))
    for in_image, ranked in by_image(truth, poses):
        straight, mirrored = _similarities(truth, poses.keypoints_xy[ranked], in_image)
        for row, pose in enumerate(ranked):
            if matches.persons[pose] >= 0:
                person = in_image.index(matches.persons[pose])
                others = np.arange(len(in_image)) != person
                own[pose], inverted[pose] = straight[row, person], mirrored[row, person]
                swapped[pose] = np.maximum(straight, mirrored)[row, others].max(axis=0, initial=-1)
    candidates = np.stack([own, inverted, swapped])
    nearest = candidates.max(axis=0)
    kinds = candidates.argmax(axis=0) + 1
    kinds[(kinds == KINDS.index("jitter")) & (nearest >= GOOD)] = KINDS.index("good")
    kinds[nearest < NEAR] = KINDS.index("miss")
    judged = own >= 0
    return KeypointErrors(
        np.where(judged, kinds, NOT_JUDGED), np.where(judged, own, np.nan), np.where(judged, nearest, np.nan)
    )


def _similarities(
    truth: GroundTruth, poses_xy: Float[np.ndarray, "n K 2"], in_image: list[int]
) -> tuple[Float[np.ndarray, "n m K"], Float[np.ndarray, "n m K"]]:
    """Of every pose with every person of the image, keypoint by keypoint and with the mirrored ones; -1 unlabelled."""
    persons = [truth.persons[index] for index in in_image]
    num_keypoints = truth.skeleton.num_keypoints
    labels_xy = np.array([person.keypoints_xy for person in persons]).reshape(-1, num_keypoints, 2)
    labelled = np.array([person.visibility > 0 for person in persons], dtype=bool).reshape(-1, num_keypoints)
    areas = np.array([person.area for person in persons])

    def compared(order: np.ndarray) -> Float[np.ndarray, "n m K"]:
        squared_px = ((poses_xy[:, None] - labels_xy[:, order]) ** 2).sum(axis=-1)
        values = similarity(squared_px, np.broadcast_to(areas, squared_px.shape[:2]), truth.skeleton.sigmas)
        return np.where(labelled[:, order], values, -1.0)

    return compared(np.arange(num_keypoints)), compared(np.array(truth.skeleton.flip_permutation))


def confusions(truth: GroundTruth, poses: ScoredPoses, matches: Matches) -> Int[np.ndarray, "K K"]:
    """How often the row's keypoint stood on the column's of its own person: `NEAR` it, and nearer than its own label.

    Of several the nearest counts. Left and right make the inversions; here a wrist on a hip is seen too.
    """
    num_keypoints = truth.skeleton.num_keypoints
    found = np.flatnonzero(matches.persons >= 0)
    persons = [truth.persons[index] for index in matches.persons[found]]
    labels_xy = np.array([person.keypoints_xy for person in persons]).reshape(-1, num_keypoints, 2)
    labelled = np.array([person.visibility > 0 for person in persons], dtype=bool).reshape(-1, num_keypoints)
    areas = np.array([person.area for person in persons])
    counts = np.zeros((num_keypoints, num_keypoints), dtype=np.int64)
    for k in range(num_keypoints):
        squared_px = ((poses.keypoints_xy[found, k, None] - labels_xy) ** 2).sum(axis=-1)
        values = np.where(labelled, similarity(squared_px, areas, truth.skeleton.sigmas), -1.0)
        nearest = values.argmax(axis=1)
        best = values.max(axis=1, initial=-1)
        confused = labelled[:, k] & (best >= NEAR) & (best > values[:, k])
        np.add.at(counts[k], nearest[confused], 1)
    return counts


def repaired(
    truth: GroundTruth,
    poses: ScoredPoses,
    matches: Matches,
    errors: KeypointErrors,
    kinds: Collection[str],
    *,
    onto_labels: bool = False,
) -> ScoredPoses:
    """The poses without errors of these kinds; everything else stays.

    As the paper has it, a repaired keypoint is no better than need be: jitter ends at the similarity 0.85 with its own
    label, a miss at 0.5, inversion and swap at the one they had with the wrong label. (coco-analyze means the same but
    takes sigma for k = 2 sigma, which puts them at half the distance.) `onto_labels` puts them on the label instead.
    """
    chosen = np.isin(errors.kinds, [KINDS.index(kind) for kind in kinds])
    pose, keypoint = np.nonzero(chosen)
    persons = [truth.persons[index] for index in matches.persons[pose]]
    labels_xy = np.array([p.keypoints_xy[k] for p, k in zip(persons, keypoint, strict=True)]).reshape(-1, 2)
    reached = np.select(
        [errors.kinds == KINDS.index("jitter"), errors.kinds == KINDS.index("miss")], [GOOD, NEAR], errors.nearest
    )
    scale_px = 2 * np.asarray(truth.skeleton.sigmas)[keypoint] * np.sqrt([p.area + np.spacing(1) for p in persons])
    distance_px = 0 if onto_labels else np.sqrt(-2 * np.log(reached[chosen])) * scale_px
    away = poses.keypoints_xy[chosen] - labels_xy
    direction = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    keypoints_xy = poses.keypoints_xy.copy()
    keypoints_xy[chosen] = labels_xy + direction * np.reshape(distance_px, (-1, 1))
    return ScoredPoses(keypoints_xy, poses.scores, poses.image_ids)
