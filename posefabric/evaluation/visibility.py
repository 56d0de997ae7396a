"""From which score on a keypoint can be trusted: measured on people that the net did not learn from.

Where it stands in the walk: after stage 10; the threshold travels with the run and says which keypoints of a new
photograph are shown as found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from posefabric.data.records import PersonRecord
from posefabric.evaluation.oks import keypoint_similarity
from posefabric.evaluation.predictions import CONFIDENT

FOUND = 0.5
"""A keypoint is found when its own similarity, exp(-d^2 / (2 s^2 k^2)), is at least this."""


def calibrated_threshold(
    keypoints_xy: Float[np.ndarray, "N K 2"],
    scores: Float[np.ndarray, "N K"],
    records: Sequence[PersonRecord],
    sigmas: Sequence[float],
) -> float:
    """The score that best separates keypoints that were found from those that were not: found is `score >= threshold`.

    To be told apart are keypoints that are labelled and within the distance of `FOUND` from all others: those further
    away and those without a label. The threshold is the score of a keypoint here that maximises F1 of the former, the
    highest of equally good ones. If all were found it is the lowest score; if none was, the scores' next number above
    the highest, so that nothing is trusted; without any keypoint it is `CONFIDENT`. Raises
    `UserError("bad-prediction")` as `distances_px`.
    """
    if not scores.size:
        return CONFIDENT
    found = keypoint_similarity(keypoints_xy, records, sigmas) >= FOUND
    if not found.any():
        return float(np.nextafter(scores.max(), scores.dtype.type(np.inf)))
    order = np.argsort(-scores, axis=None, kind="stable")
    falling = scores.ravel()[order].astype(np.float64)
    hits = np.cumsum(found.ravel()[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    f1[:-1][falling[:-1] == falling[1:]] = -1  # equal scores are taken together
    return float(falling[f1.argmax()])
