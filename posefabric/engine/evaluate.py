"""Stages 2 to 10 of the walk without learning: a net looks at people, and what it found is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from posefabric.config import Config
from posefabric.data.loader import Batch, evaluation_batches
from posefabric.data.records import People, records
from posefabric.data.sources import require_images
from posefabric.evaluation.figures import figures
from posefabric.evaluation.predictions import Predictions, take
from posefabric.evaluation.suppression import Suppression, suppress
from posefabric.models.net import Net
from posefabric.optimization import loss_of
from posefabric.predictor import crop_settings, infer_heatmaps, locate
from posefabric.settings import EvaluationSettings

Poses = tuple[Float[np.ndarray, "B K 2"], Float[np.ndarray, "B K"]]


def predict_people(net: Net, people: People, config: Config, device: str = "cpu") -> Predictions:
    """One pose per person, cut out by the person's own box; the net is left in eval mode."""
    return _gathered([locate(maps, batch, config) for batch, maps in _seen(net, people, config, device)], people)


def _seen(net: Net, people: People, config: Config, device: str) -> Iterator[tuple[Batch, Tensor]]:
    """All people, batch by batch, with the heatmaps that a net predicts for them."""
    require_images(people)
    net.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = evaluation_batches(
        people,
        crop_settings(config, net.architecture, augmented=False),
        batch_size=config.evaluation.batch_size,
        num_workers=config.data.num_workers,
    )
    for batch in batches:
        on_device = batch.to(device)
        yield on_device, infer_heatmaps(net, on_device, config)


def _gathered(found: Sequence[Poses], people: People) -> Predictions:
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


def validate(net: Net, people: People, config: Config, device: str = "cpu") -> dict[str, float]:
    """The figures of `evaluate`, and the `loss` on the same people: crops as they are, the mean over persons."""
    found, losses, counts = [], [], []
    for batch, maps in _seen(net, people, config, device):
        found.append(locate(maps, batch, config))
        losses.append(float(loss_of(maps, batch, config.data.sigma_px)))
        counts.append(len(batch.images))
    return {"loss": float(np.average(losses, weights=counts)), **figures(people.truth(), _gathered(found, people))}
