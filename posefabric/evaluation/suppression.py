"""One pose a person: of poses in an image that tell of the same person, the best is kept (OKS suppression).

Where it stands in the walk: between the poses found in detected boxes and COCO's metrics. Annotated boxes are different
persons already; there nothing is suppressed, though HRNet's code does it, and every person keeps a pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from posefabric.evaluation.oks import similarity


@dataclass(frozen=True)
class Suppression:
    """How poses of one person are told apart from poses of two.

    `sigmas` are the skeleton's OKS constants. Hard: a pose is dropped when its OKS with a kept one is above
    `threshold`. `soft`: nobody is dropped, but each kept pose multiplies the scores of the others by
    exp(-OKS^2 / `threshold`). Either way an image keeps the `at_most` best; COCO looks at no more than 20.
    """

    sigmas: tuple[float, ...]
    threshold: float = 0.9
    soft: bool = False
    at_most: int = 20


def suppress(
    keypoints_xy: Float[np.ndarray, "N K 2"],
    scores: Float[np.ndarray, " N"],
    areas: Float[np.ndarray, " N"],
    image_ids: Int[np.ndarray, " N"],
    rule: Suppression,
) -> tuple[Int[np.ndarray, " M"], Float[np.ndarray, " M"]]:
    """Which poses are kept, in ascending order, and their scores, which only the soft rule lowers.

    In every image the pose of the highest score is kept (of equal ones the earliest), the others are judged against it,
    and so on with those that are left. `areas` are those of the persons' boxes, square pixels; the OKS of two poses
    takes all keypoints and the mean of both areas.

    This is the field's greedy order (G-RMI, HRNet) with three differences. HRNet's areas are those of the crops (boxes
    grown to the input's aspect ratio, then 1.25 times a side: 1.56 times ours or more), so it drops poses that are
    kept here; the paper's code takes boxes, as here. HRNet's soft rule returns the poses with the scores they came
    with: there it only chooses which 20 to keep. The paper's own code deletes a suppressed pose from the list that it
    is walking through, and so never judges the one behind it; here all are judged.
    """
    kept: list[int] = []
    final = np.array(scores, dtype=np.float64)
    order = np.argsort(image_ids, kind="stable")
    starts = np.flatnonzero(np.diff(image_ids[order])) + 1
    for image in np.split(order, starts):
        kept += _kept_of_image(image, keypoints_xy, areas, final, rule)
    indices = np.sort(np.array(kept, dtype=np.int64))
    return indices, final[indices]


def _kept_of_image(
    rest: Int[np.ndarray, " n"],
    keypoints_xy: Float[np.ndarray, "N K 2"],
    areas: Float[np.ndarray, " N"],
    scores: Float[np.ndarray, " N"],
    rule: Suppression,
) -> list[int]:
    """The poses kept of one image, best first; the soft rule lowers `scores` in place."""
    kept: list[int] = []
    while len(rest) and len(kept) < rule.at_most:
        best = rest[np.argmax(scores[rest])]
        kept.append(int(best))
        rest = rest[rest != best]
        values = pose_similarity(keypoints_xy[rest], keypoints_xy[best], (areas[rest] + areas[best]) / 2, rule.sigmas)
        if rule.soft:
            scores[rest] *= np.exp(-(values**2) / rule.threshold)
        else:
            rest = rest[values <= rule.threshold]
    return kept


def pose_similarity(
    keypoints_xy: Float[np.ndarray, "n K 2"],
    pose_xy: Float[np.ndarray, "K 2"],
    areas: Float[np.ndarray, " n"],
    sigmas: tuple[float, ...],
) -> Float[np.ndarray, " n"]:
    """OKS of poses with one other, 0 to 1, over all keypoints; `areas` are square pixels, one a pose."""
    squared_px = ((keypoints_xy - pose_xy) ** 2).sum(axis=-1)
    return np.asarray(similarity(squared_px, areas, sigmas).mean(axis=1))
