"""Which annotated person a result is about, for metrics that judge person by person (PCK, PCKh)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from posefabric.data.records import GroundTruth
from posefabric.errors import UserError
from posefabric.evaluation.predictions import Predictions, of_persons


def match_results(results: Sequence[Mapping[str, Any]], truth: GroundTruth) -> Predictions:
    """The results in the order of the labelled persons, one for each.

    A result names its person by `annotation_id` (as ours do), or by its image where that shows one labelled person.
    Raises `UserError("bad-prediction")` where neither holds, where a named person is on another image, and for persons
    with no result or with several.
    """
    persons = [person for person in truth.persons if person.visibility.any() and not person.iscrowd]
    alone = Counter(person.image_id for person in persons)
    sole = {person.image_id: person.annotation_id for person in persons if alone[person.image_id] == 1}
    image_of = {person.annotation_id: person.image_id for person in truth.persons}
    chosen: dict[int, Mapping[str, Any]] = {}
    for i, result in enumerate(results):
        annotation_id = result.get("annotation_id", sole.get(result["image_id"]))
        if annotation_id is not None:
            _require_person(f"results[{i}]", annotation_id, result["image_id"], image_of)
        else:
            shown = alone[result["image_id"]]
            found = f"results[{i}] is on image {result['image_id']}, which shows {shown} labelled persons"
            raise UserError("bad-prediction", found, "one labelled person on the image, or the key annotation_id")
        if annotation_id in chosen:
            raise UserError(
                "bad-prediction", f"results[{i}] is a second one for person {annotation_id}", "one a person"
            )
        chosen[annotation_id] = result
    missing = [person.annotation_id for person in persons if person.annotation_id not in chosen]
    if missing:
        found = f"{len(missing)} of {len(persons)} labelled persons have no result, the first is {missing[0]}"
        raise UserError("bad-prediction", found, "one result for every labelled person")
    triples = np.array([chosen[person.annotation_id]["keypoints"] for person in persons], dtype=np.float64)
    triples = triples.reshape(len(persons), truth.skeleton.num_keypoints, 3)
    return of_persons(triples[..., :2], persons, triples[..., 2])


def _require_person(name: str, annotation_id: object, image_id: int, image_of: Mapping[int, int]) -> None:
    """Raises `UserError("bad-prediction")` unless somebody of this id is annotated on the image."""
    is_id = isinstance(annotation_id, int) and not isinstance(annotation_id, bool)
    if not is_id or (annotation_id, image_id) not in image_of.items():
        found = f"{name} of image {image_id} has the annotation_id {annotation_id!r:.60}"
        raise UserError("bad-prediction", found, "the id of a person annotated on that image")
