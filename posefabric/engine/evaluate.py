"""Stage 10 of the walk: a net and a set of people give figures, by the field's own metrics."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from posefabric.config import Config
from posefabric.data.loader import evaluation_batches
from posefabric.data.records import People, PersonRecord, records
from posefabric.errors import UserError
from posefabric.evaluation.oks import oks_metrics
from posefabric.evaluation.pck import pck, pckh
from posefabric.evaluation.predictions import Predictions, to_coco_results
from posefabric.models.net import PoseNet
from posefabric.predictor import crop_settings, infer
from posefabric.skeletons import Skeleton

logger = logging.getLogger(__name__)


def predict_people(net: PoseNet, people: People, config: Config, device: str = "cpu") -> Predictions:
    """One pose per person, cut out by the person's own box; the net is left in eval mode."""
    net.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = evaluation_batches(
        people,
        crop_settings(config, net.architecture, augmented=False),
        batch_size=config.evaluation.batch_size,
        num_workers=config.data.num_workers,
    )
    found = [infer(net, batch.to(device), config) for batch in batches]
    persons = list(records(people))
    return Predictions(
        keypoints_xy=np.concatenate([xy for xy, _ in found]),
        scores=np.concatenate([scores for _, scores in found]),
        image_ids=np.array([person.image_id for person in persons]),
        annotation_ids=np.array([person.annotation_id for person in persons]),
        box_scores=np.array([person.score for person in persons]),
    )


def figures(persons: Sequence[PersonRecord], found: Predictions, skeleton: Skeleton) -> dict[str, float]:
    """OKS-AP, PCK and, where the data has head sizes, PCKh. What cannot be measured is left out with a warning."""
    measured = dict(oks_metrics(persons, to_coco_results(found), skeleton))
    has_heads = "head_top" in skeleton.keypoints or any(person.head_size for person in persons)
    for metric in (pckh, pck) if has_heads else (pck,):
        try:
            values = metric(persons, found.keypoints_xy, skeleton)
            measured |= {key: value for key, value in values.items() if metric is pck or not key.startswith("persons")}
        except UserError as error:
            if error.code != "missing-keypoints":
                raise
            logger.warning("%s is left out: %s", metric.__name__, error.finding)
    return measured


def evaluate(net: PoseNet, people: People, config: Config, device: str = "cpu") -> dict[str, float]:
    """The figures of a net on people."""
    persons = list(records(people))
    return figures(persons, predict_people(net, people, config, device), people.skeleton)
