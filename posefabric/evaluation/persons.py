"""What each person contributes to a figure: the scores that paired bootstraps draw persons from.

Where it stands in the walk: beside stage 10, between predictions and `evaluation.statistics`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from posefabric.data.records import GroundTruth
from posefabric.errors import UserError
from posefabric.evaluation.figures import annotated_poses
from posefabric.evaluation.oks import oks
from posefabric.evaluation.pck import fractions_by_person
from posefabric.evaluation.predictions import Predictions

METRICS = ("PCK@0.2", "PCK@0.2/box", "PCKh@0.5", "AP", "PCK@0.1", "PCK@0.1/box", "PCKh@0.1")
"""The figures that persons can be weighed by; of the first four, the first that the data give is the usual headline."""

HEADLINES = METRICS[:4]

_PCK = re.compile(r"(PCKh?)@(\d\.\d+)(/box)?")


@dataclass(frozen=True, eq=False)
class PersonScores:
    """N persons in the data's order: the share of a person's keypoints that are right, in per cent, and how many count.

    Their weighted mean is the figure. For AP, which no sum over persons gives, a person's score is its OKS, 0 to 1.
    """

    annotation_ids: Int[np.ndarray, " N"]
    scores: Float[np.ndarray, " N"]
    weights: Float[np.ndarray, " N"]


def person_scores(metric: str, truth: GroundTruth, found: Predictions) -> PersonScores:
    """What the persons in annotated boxes contribute to one of `METRICS`.

    A metric that the skeleton does not allow raises `UserError("missing-keypoints")`.
    """
    persons, found_xy = annotated_poses(truth, found)
    ids = np.array([person.annotation_id for person in persons], dtype=np.int64)
    match = _PCK.fullmatch(metric)
    if match is None:
        if metric != "AP":
            raise UserError("bad-value", f"the metric '{metric}'", ", ".join(METRICS))
        similarity = oks(found_xy, persons, truth.skeleton.sigmas)
        return PersonScores(ids, similarity, np.isfinite(similarity).astype(np.float64))
    fractions = fractions_by_person(persons, found_xy, truth.skeleton, match[1] + (match[3] or ""))
    weights = (~np.isnan(fractions)).sum(axis=1).astype(np.float64)
    right = (fractions <= float(match[2])).sum(axis=1)
    scores = np.divide(100.0 * right, weights, out=np.full(len(persons), np.nan), where=weights > 0)
    return PersonScores(ids, scores, weights)


def headline_metric(figures: Mapping[str, float]) -> str | None:
    """The first of `HEADLINES` that figures have."""
    return next((metric for metric in HEADLINES if metric in figures), None)
