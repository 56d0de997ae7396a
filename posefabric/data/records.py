"""Stage 1 of the walk: one annotated person, image pixels, numpy.

Other conventions (xywh boxes, 1-based pixels, centre and scale) die inside the loader that met them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from posefabric.skeletons import Skeleton

Image = UInt8[np.ndarray, "_ _ 3"]
"""Height, width, RGB; uint8."""

MPII_HEAD_SHARE = 0.6
"""MPII's `head_size` is this share of the diagonal of its head box."""


@dataclass(frozen=True, eq=False)
class PersonRecord:
    """One person of one image.

    `keypoints_xy` are float pixels of the image, 0-based, pixel centres at integers; `visibility` is 0 (not
    labelled), 1 (labelled, occluded) or 2 (labelled, visible). `area` is in square pixels. `head_size` is the PCKh
    reference length in pixels, or None where the dataset has none.
    """

    image_id: int
    annotation_id: int
    bbox_xyxy: Float[np.ndarray, "4"]
    keypoints_xy: Float[np.ndarray, "K 2"]
    visibility: Int[np.ndarray, " K"]
    area: float
    score: float = 1.0
    iscrowd: bool = False
    head_size: float | None = None
    image_path: str = ""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What metrics are measured against.

    `persons` are all that were annotated, crowds and persons without a labelled keypoint too; `image_ids` are all
    images, those without a person too (there, whatever is found is a false positive). `category_id` is the one that
    results must carry.
    """

    skeleton: Skeleton
    persons: Sequence[PersonRecord]
    image_ids: Sequence[int]
    category_id: int = 1


@runtime_checkable
class People(Protocol):
    """What every dataset is: a skeleton and an indexable row of labelled persons with their images."""

    @property
    def skeleton(self) -> Skeleton: ...

    def truth(self) -> GroundTruth:
        """What predictions on these images are measured against: these persons, and all others annotated there."""
        ...

    def __len__(self) -> int: ...

    def record(self, index: int) -> PersonRecord:
        """The annotation of person `index`."""
        ...

    def image(self, index: int) -> Image:
        """The whole image that person `index` stands in, RGB uint8."""
        ...


def truth_of(people: People) -> GroundTruth:
    """The ground truth where nobody is annotated but the people themselves."""
    persons = tuple(records(people))
    return GroundTruth(people.skeleton, persons, tuple(dict.fromkeys(person.image_id for person in persons)))


def records(people: People) -> Iterator[PersonRecord]:
    """Every record of a dataset, in order."""
    return (people.record(index) for index in range(len(people)))
