"""Boxes that are not as annotated, stage 1 of the walk: stretched over the keypoints, or found by a detector."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from posefabric import geometry
from posefabric.data.coco import CocoPeople
from posefabric.data.records import PersonRecord

ANNOTATED, STRETCHED = "ground-truth boxes", "ground-truth boxes stretched over the keypoints"
"""Where boxes come from, in the words that stand beside every figure."""

STRETCH_PX = 5.0
"""How far a stretched box reaches beyond the outermost keypoint (the paper's code)."""


def stretched(people: CocoPeople) -> CocoPeople:
    """The people with every box enlarged to hold its labelled keypoints and `STRETCH_PX` around them.

    The paper's code does this in training and where it evaluates on ground-truth boxes: there the answer widens the
    question, so such figures flatter.
    """
    return dataclasses.replace(people, persons=tuple(map(_stretched, people.persons)), stretched=True)


def _stretched(person: PersonRecord) -> PersonRecord:
    tight = geometry.keypoints_box(person.keypoints_xy, person.visibility)
    low = np.minimum(person.bbox_xyxy[:2], tight[:2] - STRETCH_PX)
    high = np.maximum(person.bbox_xyxy[2:], tight[2:] + STRETCH_PX)
    return dataclasses.replace(person, bbox_xyxy=np.concatenate([low, high]))


def unlabelled(people: CocoPeople) -> CocoPeople:
    """Everybody annotated but crowds: the people of a test split that keeps its labels to itself."""
    return dataclasses.replace(people, persons=tuple(person for person in people.annotated if not person.iscrowd))


def detected(people: CocoPeople, detections: Iterable[Mapping[str, Any]], threshold: float = 0.0) -> CocoPeople:
    """The same images with the persons that a detector found; what they are measured against stays.

    `detections` are COCO detection results (`image_id`, `bbox` x, y, width, height, `score`) of these images; those
    with a score below `threshold` are left out. The persons have no keypoints and the annotation id -1.
    """
    count = people.skeleton.num_keypoints
    persons = tuple(
        PersonRecord(
            image_id=detection["image_id"],
            annotation_id=-1,
            bbox_xyxy=np.array([x, y, x + width, y + height], dtype=np.float64),
            keypoints_xy=np.zeros((count, 2)),
            visibility=np.zeros(count, dtype=np.int64),
            area=float(width * height),
            score=float(detection["score"]),
            image_path=people.image_paths[detection["image_id"]],
        )
        for detection in detections
        if detection["score"] >= threshold
        for x, y, width, height in [detection["bbox"]]
    )
    return dataclasses.replace(people, persons=persons)
