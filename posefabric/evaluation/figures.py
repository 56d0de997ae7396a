"""All figures of a set of predictions by the field's metrics: OKS-AP, PCKh where there are heads, PCK.

The last step of the walk, shared by evaluation of a net and of a file of predictions.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from posefabric.data.records import GroundTruth, PersonRecord
from posefabric.errors import UserError
from posefabric.evaluation.oks import oks_metrics
from posefabric.evaluation.pck import pck, pckh
from posefabric.evaluation.predictions import Predictions, to_coco_results

logger = logging.getLogger(__name__)


def figures(truth: GroundTruth, found: Predictions) -> dict[str, float]:
    """OKS-AP, and for poses in annotated boxes PCKh and PCK; what the data cannot measure is left out with a warning.

    Without a labelled keypoint in the truth nothing is measured, with a warning.
    """
    if not any(person.visibility.any() for person in truth.persons):
        logger.warning("no keypoint is labelled: there is nothing to measure against")
        return {}
    measured = dict(oks_metrics(truth.persons, to_coco_results(found), truth.skeleton, truth.image_ids))
    persons, found_xy = annotated_poses(truth, found)
    if not persons:
        return measured
    has_heads = "head_top" in truth.skeleton.keypoints or any(person.head_size for person in persons)
    for metric in (pckh, pck) if has_heads else (pck,):
        try:
            values = metric(persons, found_xy, truth.skeleton)
            measured |= {key: value for key, value in values.items() if metric is pck or not key.startswith("persons")}
        except UserError as error:
            if error.code != "missing-keypoints":
                raise
            logger.warning("%s is left out: %s", metric.__name__, error.finding)
    return measured


def annotated_poses(truth: GroundTruth, found: Predictions) -> tuple[Sequence[PersonRecord], np.ndarray]:
    """The labelled persons whose boxes the poses were found in, and these poses (N, K, 2), in the poses' order."""
    by_id = {person.annotation_id: person for person in truth.persons if person.visibility.any()}
    rows = [row for row, annotation_id in enumerate(found.annotation_ids.tolist()) if annotation_id in by_id]
    return [by_id[int(found.annotation_ids[row])] for row in rows], found.keypoints_xy[rows]
