"""Stages 2 to 10 of the walk without learning: a net looks at people, and what it found is measured."""

from __future__ import annotations

import numpy as np
import torch

from posefabric.config import Config, EvaluationSettings
from posefabric.data.loader import evaluation_batches
from posefabric.data.records import People, records
from posefabric.data.sources import require_images
from posefabric.evaluation.figures import figures
from posefabric.evaluation.predictions import Predictions, take
from posefabric.evaluation.suppression import Suppression, suppress
from posefabric.models.net import Net
from posefabric.predictor import crop_settings, infer


def predict_people(net: Net, people: People, config: Config, device: str = "cpu") -> Predictions:
    """One pose per person, cut out by the person's own box; the net is left in eval mode."""
    require_images(people)
    net.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = evaluation_batches(
        people,
        crop_settings(config, net.architecture, augmented=False),
        batch_size=config.evaluation.batch_size,
        num_workers=config.data.num_workers,
    )
    found = [infer(net, batch.to(device), config) for batch in batches]
    persons = list(records(people))
    count = people.skeleton.num_keypoints
    return Predictions(
        keypoints_xy=np.concatenate([np.zeros((0, count, 2)), *(xy for xy, _ in found)]),
        scores=np.concatenate([np.zeros((0, count)), *(scores for _, scores in found)]),
        image_ids=np.array([person.image_id for person in persons], dtype=np.int64),
        annotation_ids=np.array([person.annotation_id for person in persons], dtype=np.int64),
        box_scores=np.array([person.score for person in persons], dtype=np.float64),
    )


def survivors(found: Predictions, people: People, settings: EvaluationSettings) -> Predictions:
    """The poses in detected boxes that are left when every image keeps each person once (OKS suppression).

    `found` are the poses of these people, in their order; OKS takes a pose's area from its person's box.
    """
    if settings.suppression == "none" or len(found) == 0:
        return found
    corners = np.array([person.bbox_xyxy for person in records(people)]).reshape(-1, 2, 2)
    areas = np.prod(corners[:, 1] - corners[:, 0], axis=1)
    rule = Suppression(people.skeleton.sigmas, settings.suppression_oks, soft=settings.suppression == "soft")
    rows, scores = suppress(found.keypoints_xy, found.person_scores, areas, found.image_ids, rule)
    return take(found, rows, scores)


def evaluate(net: Net, people: People, config: Config, device: str = "cpu") -> dict[str, float]:
    """The figures of a net on people in their own boxes."""
    return figures(people.truth(), predict_people(net, people, config, device))
