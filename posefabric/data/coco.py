"""Stage 1 of the walk: COCO keypoint JSON to person records, and any people back to COCO keypoint JSON.

COCO's conventions end here: boxes x, y, width, height become corners, triples become `keypoints_xy` and
`visibility`, 1-based limbs become names. Its pixels are 0-based already.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from posefabric.data.annotations.reader import Wanted, read_annotations
from posefabric.data.images import read_image
from posefabric.data.records import GroundTruth, Image, People, PersonRecord
from posefabric.settings import MAX_JSON
from posefabric.skeletons import Skeleton

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CocoPeople:
    """Labelled persons with their image files; a `People`.

    `annotated` are these and all others of the category: crowds, and persons without a labelled keypoint.
    `image_paths` are the files of all images, by image id. `allow_truncated` is `read_image`'s. `stretched` boxes are
    not as annotated (`posefabric.data.boxes`).
    """

    skeleton: Skeleton
    persons: tuple[PersonRecord, ...]
    annotated: tuple[PersonRecord, ...]
    image_paths: Mapping[int, str]
    category_id: int = 1
    allow_truncated: bool = False
    stretched: bool = False

    def truth(self) -> GroundTruth:
        return GroundTruth(self.skeleton, self.annotated, tuple(self.image_paths), self.category_id)

    def __len__(self) -> int:
        return len(self.persons)

    def record(self, index: int) -> PersonRecord:
        return self.persons[index]

    def image(self, index: int) -> Image:
        return read_image(self.persons[index].image_path, allow_truncated=self.allow_truncated)


def load(
    annotation_path: str | Path,
    images_dir: str | Path | None = None,
    skeleton: Skeleton | None = None,
    category: str | None = None,
    max_bytes: int = MAX_JSON,
) -> CocoPeople:
    """The persons of a COCO keypoint JSON that have a labelled keypoint and are no crowd, in file order.

    `images_dir` defaults to `images/` beside the file, or to the file's own folder; images are not opened.
    `category` is the name of one category, by default the first with keypoints. The skeleton is read from the
    category (a built-in one where the keypoint names are the same); a given one must have as many keypoints, and
    allows a file without annotations. What only other tools need (`problems.HARMLESS`) is derived and counted in a
    warning. Raises `UserError`: "missing-file", or "bad-annotation" that lists every problem.
    """
    path = Path(annotation_path)
    file = read_annotations(path, Path(images_dir or images_beside(path)), Wanted(category, skeleton), max_bytes)
    file.findings.raise_blocking(
        "bad-annotation", f"correct these; `posefabric data check {path}` looks at images, too"
    )
    for remark in file.findings.remarks:
        logger.warning("%s: %s", path, remark)
    if file.findings.harmless():
        logger.warning("%s: derived what other tools need: %s", path, file.findings.harmless())
    chosen = file.chosen[0]
    assert chosen.skeleton is not None
    return people_of(chosen.skeleton, file.persons[chosen.id], file.image_paths, chosen.id)


def images_beside(path: Path) -> Path:
    """Where a file's images are unless said: `images/` beside it, or its own folder."""
    return path.parent / "images" if (path.parent / "images").is_dir() else path.parent


def people_of(
    skeleton: Skeleton, annotated: Sequence[PersonRecord], image_paths: Mapping[int, str], category_id: int = 1
) -> CocoPeople:
    """The people among annotated persons: those with a labelled keypoint that are no crowd."""
    persons = tuple(person for person in annotated if person.visibility.any() and not person.iscrowd)
    return CocoPeople(skeleton, persons, tuple(annotated), image_paths, category_id)


def split_by_image(
    people: CocoPeople, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> tuple[CocoPeople, ...]:
    """The people in as many groups as there are fractions, which sum to 1; one image's people stay together.

    Where an image falls depends on `seed` and its id alone, so adding images moves none; group sizes are
    therefore only about the fractions, and a group of a small dataset may be empty.
    """
    edges = np.cumsum(fractions)
    assert abs(edges[-1] - 1) < 1e-6, "fractions sum to 1"
    groups = {image_id: _group(image_id, edges, seed) for image_id in people.image_paths}
    return tuple(
        people_of(
            people.skeleton,
            [person for person in people.annotated if groups[person.image_id] == number],
            {image_id: path for image_id, path in people.image_paths.items() if groups[image_id] == number},
            people.category_id,
        )
        for number in range(len(fractions))
    )


def _group(image_id: int, edges: Float[np.ndarray, " N"], seed: int) -> int:
    """Where an image falls; a function of `seed` and the image's id."""
    digest = hashlib.sha256(f"{seed} {image_id}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    return int(np.searchsorted(edges[:-1], position, side="right"))


def to_coco(people: People, images_dir: str | Path | None = None) -> dict[str, Any]:
    """Any people and all others annotated on their images as COCO keypoint JSON, which `load` reads back.

    File names are relative to `images_dir`, or bare names without one; `000012.png` where an image 12 has no
    file.
    """
    skeleton, persons = people.skeleton, people.truth().persons
    file_names = {person.image_id: _file_name(person, images_dir) for person in persons}
    category = {
        "id": 1,
        "name": "person",
        "keypoints": list(skeleton.keypoints),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.limb_indices],
        "flip_pairs": [list(pair) for pair in skeleton.mirror_pairs],
        "sigmas": list(skeleton.sigmas),
    }
    return {
        "images": [{"id": image_id, "file_name": name} for image_id, name in file_names.items()],
        "annotations": [_annotation(person) for person in persons],
        "categories": [category],
    }


def _file_name(person: PersonRecord, images_dir: str | Path | None) -> str:
    if not person.image_path:
        return f"{person.image_id:06d}.png"
    path = Path(person.image_path)
    return path.relative_to(images_dir).as_posix() if images_dir is not None else path.name


def _annotation(person: PersonRecord) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(number) for number in person.bbox_xyxy)
    triples = np.column_stack([person.keypoints_xy, person.visibility])
    annotation = {
        "id": person.annotation_id,
        "image_id": person.image_id,
        "category_id": 1,
        "keypoints": [float(number) for number in triples.flat],
        "num_keypoints": int((person.visibility > 0).sum()),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(person.area),
        "iscrowd": int(person.iscrowd),
    }
    return annotation if person.head_size is None else {**annotation, "head_size": float(person.head_size)}
