"""What goes wrong, where, and what it costs: kinds of error per keypoint, AP without each of them, curves, worst cases.

Where it stands in the walk: after stage 10. The classes of error are Ronchi and Perona's (ICCV 2017): misplaced
keypoints (`posefabric.evaluation.errors`), scores that rank poses wrongly, poses of nobody, persons without a pose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from posefabric import documents
from posefabric.data.records import GroundTruth, PersonRecord
from posefabric.errors import UserError
from posefabric.evaluation.errors import KINDS, KeypointErrors, confusions, keypoint_errors, repaired
from posefabric.evaluation.figures import annotated_poses
from posefabric.evaluation.oks import OKS_THRESHOLDS, coco_annotations, coco_metrics, coco_precision
from posefabric.evaluation.pairing import BACKGROUND, IGNORED, Matches, ScoredPoses, ignored, match, scored_poses
from posefabric.evaluation.pck import pck_curve, pckh_curve
from posefabric.evaluation.predictions import Predictions, to_coco_results

WORST = 50
MEASURES = ("AP", "AP50", "AP75")
POSES = ("persons", "background", "ignored", "missed")
EFFECTS = ("as found", *KINDS[1:], "keypoints", "scores", "background", "missed")
PCK_THRESHOLDS = tuple(step / 100 for step in range(51))


@dataclass(frozen=True)
class KeypointDiagnosis:
    """How often each of `KINDS` befell a keypoint, and its mean similarity; None where it was never judged."""

    counts: Mapping[str, int]
    similarity: float | None


@dataclass(frozen=True)
class Case:
    """One labelled person: OKS of its pose (0 without one), and its keypoints by kind."""

    annotation_id: int
    image_id: int
    oks: float
    found: bool
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Curve:
    """The percentage of keypoints within each threshold, by a metric's name."""

    name: str
    thresholds: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Diagnosis:
    """Everything that `diagnose` finds.

    `keypoints` are by name. `poses` counts results by what they are of: `persons`, `background` (nobody, or a person
    that has a better ranked pose), `ignored` (crowds, unlabelled persons, beyond the 20 best of an image); `missed`
    counts labelled persons without a pose. `effects` holds `MEASURES` as found, and without one class of error:
    `jitter`, `inversion`, `swap`, `miss`, all four (`keypoints`), `scores` (each pose's score is its OKS), `background`
    (such poses are dropped) and `missed` (such persons are). `precision` is COCO's at the recalls 0, 0.01, ..., 1, by
    OKS threshold. `pck` is there where poses are of annotated boxes.
    `worst` are the `WORST` persons of the lowest OKS, worst first. `confusions` says on which other keypoints of its
    person a keypoint stood, and how often.
    """

    keypoints: Mapping[str, KeypointDiagnosis]
    poses: Mapping[str, int]
    effects: Mapping[str, Mapping[str, float]]
    precision: Mapping[str, Sequence[float]]
    worst: Sequence[Case]
    confusions: Mapping[str, Mapping[str, int]]
    pck: Curve | None = None
    format: Literal[1] = 1

    def __post_init__(self) -> None:
        counts = [*(keypoint.counts for keypoint in self.keypoints.values()), *(case.counts for case in self.worst)]
        tables = [*((KINDS, row) for row in counts), (EFFECTS, self.effects), (POSES, self.poses)]
        tables += [(MEASURES, row) for row in self.effects.values()]
        for known, row in tables:
            if set(row) != set(known):
                raise ValueError(f"has {', '.join(row)} where {', '.join(known)} are due")

    def to_data(self) -> dict[str, Any]:
        """As plain data for JSON; `posefabric.documents` reads it back."""
        data: dict[str, Any] = documents.to_data(self)
        return data


def diagnosis_of(truth: GroundTruth, found: Predictions) -> dict[str, Any]:
    """The diagnosis of a net's poses as plain data, with the PCK curve where it can be measured."""
    diagnosis = diagnose(truth, to_coco_results(found, truth.category_id))
    return replace(diagnosis, pck=_pck(truth, found)).to_data()


def diagnose(truth: GroundTruth, results: Sequence[Mapping[str, Any]]) -> Diagnosis:
    """Find what is wrong with COCO keypoint results, which carry `truth.category_id`. Raises as `coco_metrics`."""
    annotations = coco_annotations(truth.persons, truth.image_ids, truth.category_id)
    precision = coco_precision(annotations, results, truth.skeleton.sigmas)
    poses = scored_poses(results, truth.skeleton.num_keypoints)
    matches = match(truth, poses)
    errors = keypoint_errors(truth, poses, matches)
    missed = _missed(truth, matches)
    return Diagnosis(
        keypoints={
            name: KeypointDiagnosis(_counts(errors.kinds[:, k]), _mean(errors.own[:, k]))
            for k, name in enumerate(truth.skeleton.keypoints)
        },
        poses={
            "persons": int((matches.persons >= 0).sum()),
            "background": int((matches.persons == BACKGROUND).sum()),
            "ignored": int((matches.persons == IGNORED).sum()),
            "missed": len(missed),
        },
        effects=dict(_effects(truth, poses, matches, errors)),
        precision={f"{oks:.2f}": curve.tolist() for oks, curve in zip(OKS_THRESHOLDS, precision, strict=True)},
        worst=_worst(truth, matches, errors),
        confusions=_confusions(truth, confusions(truth, poses, matches)),
    )


def _effects(
    truth: GroundTruth, poses: ScoredPoses, matches: Matches, errors: KeypointErrors
) -> Iterator[tuple[str, dict[str, float]]]:
    yield "as found", _measured(truth, truth.persons, poses)
    for kind in KINDS[1:]:
        yield kind, _measured(truth, truth.persons, repaired(truth, poses, matches, errors, (kind,)))
    yield "keypoints", _measured(truth, truth.persons, repaired(truth, poses, matches, errors, KINDS[1:]))
    yield "scores", _measured(truth, truth.persons, replace(poses, scores=matches.oks))
    kept = matches.persons != BACKGROUND
    without = ScoredPoses(poses.keypoints_xy[kept], poses.scores[kept], poses.image_ids[kept])
    yield "background", _measured(truth, truth.persons, without)
    missed = set(_missed(truth, matches))
    yield "missed", _measured(truth, [p for i, p in enumerate(truth.persons) if i not in missed], poses)


def _measured(truth: GroundTruth, persons: Sequence[PersonRecord], poses: ScoredPoses) -> dict[str, float]:
    images = [*truth.image_ids, *(person.image_id for person in truth.persons)]
    annotations = coco_annotations(persons, images, truth.category_id)
    metrics = coco_metrics(annotations, poses.to_results(truth.category_id), truth.skeleton.sigmas)
    return {key: metrics[key] for key in MEASURES}


def _missed(truth: GroundTruth, matches: Matches) -> list[int]:
    """The places of labelled persons that no pose is of."""
    found = set(matches.persons.tolist())
    return [i for i, person in enumerate(truth.persons) if i not in found and not ignored(person)]


def _worst(truth: GroundTruth, matches: Matches, errors: KeypointErrors) -> list[Case]:
    pose_of = {int(person): pose for pose, person in enumerate(matches.persons) if person >= 0}
    cases = [
        Case(
            person.annotation_id,
            person.image_id,
            oks=float(matches.oks[pose_of[i]]) if i in pose_of else 0.0,
            found=i in pose_of,
            counts=_counts(errors.kinds[pose_of[i]]) if i in pose_of else dict.fromkeys(KINDS, 0),
        )
        for i, person in enumerate(truth.persons)
        if not ignored(person)
    ]
    return sorted(cases, key=lambda case: (case.oks, case.image_id, case.annotation_id))[:WORST]


def _confusions(truth: GroundTruth, counts: np.ndarray) -> dict[str, dict[str, int]]:
    names = truth.skeleton.keypoints
    rows = {name: {names[j]: int(n) for j, n in enumerate(row) if n} for name, row in zip(names, counts, strict=True)}
    return {name: row for name, row in rows.items() if row}


def _counts(kinds: np.ndarray) -> dict[str, int]:
    return {kind: int((kinds == place).sum()) for place, kind in enumerate(KINDS)}


def _mean(values: np.ndarray) -> float | None:
    judged = values[~np.isnan(values)]
    return float(judged.mean()) if len(judged) else None


def _pck(truth: GroundTruth, found: Predictions) -> Curve | None:
    """PCKh where heads can be measured, else PCK; None for poses of detected boxes."""
    persons, keypoints_xy = annotated_poses(truth, found)
    for curve in (pckh_curve, pck_curve) if persons else ():
        try:
            name, values = curve(persons, keypoints_xy, truth.skeleton, PCK_THRESHOLDS)
        except UserError as error:
            if error.code != "missing-keypoints":
                raise
            continue
        return Curve(name, PCK_THRESHOLDS, values)
    return None
