"""The predictor that never looks: everybody stands as the mean of the training boxes.

    python benchmarks/mean_pose.py DATA

Keypoints are averaged in coordinates of the box (0 to 1 along each side); the figures are those of
`posefabric evaluate`.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from posefabric.data.records import PersonRecord, records
from posefabric.data.sources import open_people
from posefabric.evaluation.figures import figures
from posefabric.evaluation.predictions import of_persons
from posefabric.settings import DataSettings


def in_box(person: PersonRecord) -> np.ndarray:
    """The labelled keypoints in the coordinates of the person's box; NaN for the others."""
    low, high = person.bbox_xyxy[:2], person.bbox_xyxy[2:]
    return np.where(person.visibility[:, None] > 0, (person.keypoints_xy - low) / (high - low), np.nan)


def main(data: str) -> None:
    train, val = (open_people(data, split, DataSettings()) for split in ("train", "val"))
    mean = np.nanmean([in_box(person) for person in records(train)], axis=0)
    persons = list(records(val))
    poses = np.stack([p.bbox_xyxy[:2] + mean * (p.bbox_xyxy[2:] - p.bbox_xyxy[:2]) for p in persons])
    print(json.dumps(figures(val.truth(), of_persons(poses, persons)), indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
