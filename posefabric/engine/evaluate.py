"""Stages 2 to 10 of the walk without learning: a net looks at people, and what it found is measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from posefabric import ranks
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


def predict_people(net: Net, people: People, config: Config, device: str = "cpu") -> Predictions:
    """One pose per person, cut out by the person's own box; the net is left in eval mode."""
    found = _Found.nobody(people)
    for batch, maps in _seen(net, people, config, device):
        found.place(batch, *locate(maps, batch, config))
    return found.of(people)


def _seen(net: Net, people: People, config: Config, device: str) -> Iterator[tuple[Batch, Tensor]]:
    """All people of this rank, batch by batch, with the heatmaps that a net predicts for them."""
    require_images(people)
    net.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = evaluation_batches(
        people,
        crop_settings(config, net.architecture, augmented=False),
        batch_size=config.evaluation.batch_size,
        num_workers=config.data.num_workers,
        part=(ranks.rank(), ranks.size()),
    )
    for batch in batches:
        on_device = batch.to(device)
        yield on_device, infer_heatmaps(net, on_device, config)


class _Found(NamedTuple):
    """What was found of N people, by their indices; each rank fills in its own, zeros elsewhere."""

    keypoints_xy: Float[np.ndarray, "N K 2"]
    scores: Float[np.ndarray, "N K"]
    losses: Float[np.ndarray, " N"]

    @staticmethod
    def nobody(people: People) -> _Found:
        count, num_keypoints = len(people), people.skeleton.num_keypoints
        return _Found(np.zeros((count, num_keypoints, 2)), np.zeros((count, num_keypoints)), np.zeros(count))

    def place(
        self, batch: Batch, xy: Float[np.ndarray, "B K 2"], scores: Float[np.ndarray, "B K"], loss: float = 0.0
    ) -> None:
        """Fill in what was found of a batch, whose persons share a mean loss."""
        rows = batch.indices.cpu().numpy()
        self.keypoints_xy[rows], self.scores[rows], self.losses[rows] = xy, scores, loss

    def of(self, people: People) -> Predictions:
        """What all ranks found."""
        ranks.add_up(*self)
        persons = list(records(people))
        return Predictions(
            keypoints_xy=self.keypoints_xy,
            scores=self.scores,
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
    found = _Found.nobody(people)
    for batch, maps in _seen(net, people, config, device):
        found.place(batch, *locate(maps, batch, config), float(loss_of(maps, batch, config.data.sigma_px)))
    poses = found.of(people)
    return {"loss": float(found.losses.mean()), **figures(people.truth(), poses)}
