"""Ground truths and results in COCO's form, made at random to hold every case that COCO's metric knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from posefabric.data.records import PersonRecord

AREAS = (0.0, 400.0, 32.0**2, 32.0**2 + 1, 5000.0, 96.0**2, 96.0**2 + 1, 40000.0)


def random_set(seed: int, num_keypoints: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Crowds, unlabelled persons, areas on the borders, tied scores, more than 20 results an image."""
    rng = np.random.default_rng(seed)
    images = [{"id": int(i)} for i in rng.choice(1000, size=rng.integers(1, 5), replace=False)]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in images:
        poses = rng.uniform(0, 200, (rng.integers(0, 5), num_keypoints, 2)).round(1)
        for xy in poses:
            visibility = rng.integers(0, 3, num_keypoints) * (rng.random() > 0.2)
            labelled = np.where(visibility[:, None] > 0, xy, 0)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "iscrowd": int(rng.random() < 0.15),
                    "area": float(rng.choice(AREAS)),
                    "bbox": [
                        *rng.uniform(0, 60, 2).round(1).tolist(),
                        *rng.uniform(5, 90, 2).round(1).tolist(),
                    ],
                    "num_keypoints": int((visibility > 0).sum()),
                    "keypoints": np.column_stack([labelled, visibility]).ravel().tolist(),
                }
            )
        for _ in range(rng.choice([0, 1, 3, 6, 25])):
            near = poses[rng.integers(len(poses))] if len(poses) else rng.uniform(0, 200, (num_keypoints, 2))
            xy = near + rng.normal(0, rng.choice([0, 2, 8, 30]), (num_keypoints, 2))
            results.append(
                {
                    "image_id": image["id"],
                    "category_id": 1,
                    "score": float(rng.choice([0.1, 0.5, 0.5, 0.9, rng.random()])),
                    "keypoints": np.column_stack([xy, np.ones(num_keypoints)]).ravel().tolist(),
                }
            )
    return {"images": images, "categories": [{"id": 1}], "annotations": annotations}, results


def coco_record(annotation: dict[str, Any]) -> PersonRecord:
    keypoints = np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)
    x, y, width, height = annotation["bbox"]
    return PersonRecord(
        image_id=annotation["image_id"],
        annotation_id=annotation["id"],
        bbox_xyxy=np.array([x, y, x + width, y + height], dtype=float),
        keypoints_xy=keypoints[:, :2],
        visibility=keypoints[:, 2].astype(int),
        area=annotation["area"],
        iscrowd=bool(annotation["iscrowd"]),
    )
