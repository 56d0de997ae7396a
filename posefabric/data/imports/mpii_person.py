"""Stage 1 of the walk: one person of MPII as its annotators left it, and the record it becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from posefabric.data.records import PersonRecord
from posefabric.errors import UserError

HEIGHT_PX = 200.0
"""A person of scale 1 is this high."""

SHOWN = 50
"""So many broken entries of a file are told one by one."""

LOWER = 15.0
"""The box's centre stands this many pixels x scale below the annotated one, so that feet are not cut off.

With a side of `HEIGHT_PX` x scale and the crop's margin of 1.25, this is the crop of HRNet's code and its heirs.
"""


@dataclass(frozen=True, eq=False)
class MpiiPerson:
    """One person.

    `centre_xy` is as in the files, 1-based; `keypoints_xy` are 0-based. `split` is "train", "val" or "test" where
    the file says so. `place` names the entry in messages.
    """

    place: str
    image: str
    centre_xy: Float[np.ndarray, "2"]
    scale: float
    keypoints_xy: Float[np.ndarray, "16 2"]
    visibility: Int[np.ndarray, "16"]
    split: str | None = None
    head_size: float | None = None

    @property
    def bbox_xyxy(self) -> Float[np.ndarray, "4"]:
        """The square that stands for the person, 0-based pixels."""
        centre = self.centre_xy - 1 + np.array([0.0, LOWER * self.scale])
        half = HEIGHT_PX * self.scale / 2
        return np.concatenate([centre - half, centre + half])

    def record(self, image_id: int, annotation_id: int) -> PersonRecord:
        """The person under these ids; `image_path` is the bare name."""
        return PersonRecord(
            image_id=image_id,
            annotation_id=annotation_id,
            bbox_xyxy=self.bbox_xyxy,
            keypoints_xy=np.where(self.visibility[:, None] > 0, self.keypoints_xy, 0.0),
            visibility=self.visibility,
            area=(HEIGHT_PX * self.scale) ** 2,
            head_size=self.head_size,
            image_path=self.image,
        )


def bad_entry(place: str, found: str, expected: str) -> UserError:
    """The error for an entry of MPII's that is not what it should be."""
    return UserError("bad-annotation", f"{place} {found}", expected)


def all_read(attempts: Iterable[Callable[[], MpiiPerson | None]]) -> Iterator[MpiiPerson]:
    """The persons these readers of one entry each return; broken entries are told together, at the end."""
    problems = []
    for attempt in attempts:
        try:
            person = attempt()
        except UserError as error:
            problems.append(error)
            continue
        if person is not None:
            yield person
    if len(problems) == 1:
        raise problems[0]
    if problems:
        lines = [problem.finding for problem in problems[:SHOWN]]
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise UserError("bad-annotation", "\n  ".join([f"{len(problems)} entries are broken:", *lines, *more]))
