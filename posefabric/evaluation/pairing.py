"""Which annotated person a pose tells of: COCO's greedy pairing, at an OKS low enough to see what went wrong.

Where it stands in the walk: inside stage 10, before poses are diagnosed (`posefabric.evaluation.errors`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from posefabric.data.records import GroundTruth, PersonRecord
from posefabric.evaluation.oks import similarity

LOOSE_OKS = 0.1
"""From this OKS on, a pose is a bad pose of a person; below, it is of nobody (Ronchi and Perona)."""
MOST_POSES = 20
"""COCO looks at this many poses of an image, the best."""
BACKGROUND, IGNORED = -1, -2


@dataclass(frozen=True, eq=False)
class ScoredPoses:
    """What COCO's metric knows of N results: keypoints in image pixels, one score each, the image."""

    keypoints_xy: Float[np.ndarray, "N K 2"]
    scores: Float[np.ndarray, " N"]
    image_ids: Int[np.ndarray, " N"]

    def to_results(self, category_id: int) -> list[dict[str, Any]]:
        """As COCO keypoint results; the third number of each keypoint, which no metric reads, is 1."""
        num_poses, num_keypoints, _ = self.keypoints_xy.shape
        triplets = np.concatenate([self.keypoints_xy, np.ones((num_poses, num_keypoints, 1))], axis=2)
        rows = zip(
            self.image_ids.tolist(),
            triplets.reshape(num_poses, 3 * num_keypoints).tolist(),
            self.scores.tolist(),
            strict=True,
        )
        return [
            {"image_id": image_id, "category_id": category_id, "keypoints": keypoints, "score": score}
            for image_id, keypoints, score in rows
        ]


def scored_poses(results: Sequence[Mapping[str, Any]], num_keypoints: int) -> ScoredPoses:
    """COCO keypoint results, checked by `coco_metrics` before, as arrays."""
    triplets = np.array([result["keypoints"] for result in results], dtype=np.float64)
    return ScoredPoses(
        keypoints_xy=triplets.reshape(len(results), num_keypoints, 3)[..., :2],
        scores=np.array([result["score"] for result in results], dtype=np.float64),
        image_ids=np.array([result["image_id"] for result in results], dtype=np.int64),
    )


@dataclass(frozen=True, eq=False)
class Matches:
    """For each pose the place in `truth.persons` of its person, `BACKGROUND` (nobody's), or `IGNORED`.

    Ignored are poses of crowds and of persons without a label, and those beyond the `MOST_POSES` best of an image.
    `oks` is the OKS of pose and person, 0 where there is none.
    """

    persons: Int[np.ndarray, " N"]
    oks: Float[np.ndarray, " N"]


def match(truth: GroundTruth, poses: ScoredPoses) -> Matches:
    """Pair poses with persons: poses by falling score, each with the free person of the highest OKS, if `LOOSE_OKS`.

    Pairs and ties are pycocotools': a pose takes an ignored person only where it finds no other; of equally similar
    persons the later is taken, of equal scores the earlier pose comes first.
    """
    persons = np.full(len(poses.scores), BACKGROUND)
    values = np.zeros(len(poses.scores))
    for in_image, ranked in by_image(truth, poses):
        persons[ranked[MOST_POSES:]] = IGNORED
        ranked = ranked[:MOST_POSES]
        records = [truth.persons[index] for index in in_image]
        similarities = _oks_of_pairs(poses.keypoints_xy[ranked], records, truth.skeleton.sigmas)
        chosen = _pairs(similarities, records)
        for pose, person, row in zip(ranked, chosen, similarities, strict=True):
            if person >= 0 and not ignored(records[person]):
                persons[pose], values[pose] = in_image[person], row[person]
            elif person >= 0:
                persons[pose] = IGNORED
    return Matches(persons, values)


def by_image(truth: GroundTruth, poses: ScoredPoses) -> Iterator[tuple[list[int], Int[np.ndarray, " n"]]]:
    """For every image with poses: the places of its persons, and its poses by falling score."""
    in_image: dict[int, list[int]] = {}
    for index, person in enumerate(truth.persons):
        in_image.setdefault(person.image_id, []).append(index)
    order = np.lexsort([-poses.scores, poses.image_ids])
    ids = poses.image_ids[order]
    for ranked in np.split(order, np.flatnonzero(np.diff(ids)) + 1):
        if len(ranked):
            yield in_image.get(int(poses.image_ids[ranked[0]]), []), ranked


def ignored(person: PersonRecord) -> bool:
    """Whether COCO neither rewards nor punishes poses of this person."""
    return person.iscrowd or not (person.visibility > 0).any()


def _pairs(similarities: Float[np.ndarray, "n m"], records: Sequence[PersonRecord]) -> list[int]:
    """The person of each pose, in order, or `BACKGROUND`."""
    is_ignored = np.array([ignored(record) for record in records], dtype=bool)
    is_crowd = np.array([record.iscrowd for record in records], dtype=bool)
    free = np.ones(len(records), dtype=bool)
    chosen = []
    for row in similarities:
        allowed = free & (row >= LOOSE_OKS)
        best = _last_best(row, allowed & ~is_ignored)
        if best < 0:
            best = _last_best(row, allowed & is_ignored)
        if best >= 0:
            free[best] = is_crowd[best]  # a crowd has room for many
        chosen.append(best)
    return chosen


def _last_best(values: Float[np.ndarray, " m"], allowed: Bool[np.ndarray, " m"]) -> int:
    if not allowed.any():
        return BACKGROUND
    return int(np.flatnonzero(allowed & (values == values[allowed].max()))[-1])


def _oks_of_pairs(
    poses_xy: Float[np.ndarray, "n K 2"], records: Sequence[PersonRecord], sigmas: Sequence[float]
) -> Float[np.ndarray, "n m"]:
    """OKS of every pose with every person; where nothing is labelled, by the distance from the box grown threefold."""
    columns = []
    for record in records:
        labelled = record.visibility > 0
        away = poses_xy - record.keypoints_xy
        if not labelled.any():
            labelled = np.ones_like(labelled)
            sides = record.bbox_xyxy[2:] - record.bbox_xyxy[:2]
            low, high = record.bbox_xyxy[:2] - sides, record.bbox_xyxy[2:] + sides
            away = np.maximum(low - poses_xy, 0) + np.maximum(poses_xy - high, 0)
        own = similarity((away**2).sum(axis=-1), np.full(len(poses_xy), record.area), sigmas)
        columns.append(own[:, labelled].mean(axis=1))
    return np.stack(columns, axis=1) if columns else np.zeros((len(poses_xy), 0))
