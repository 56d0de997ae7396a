"""Stage 1 of the walk: COCO keypoint JSON to person records, and any people back to COCO keypoint JSON.

COCO's conventions end here: boxes x, y, width, height become corners, triples become `keypoints_xy` and
`visibility`, 1-based limbs become names. Its pixels are 0-based already.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Float

from posefabric import documents
from posefabric.data.images import read_image
from posefabric.data.records import GroundTruth, Image, People, PersonRecord
from posefabric.errors import UserError
from posefabric.skeletons import SKELETONS, Skeleton

logger = logging.getLogger(__name__)

_LARGEST = 1e9  # no pixel coordinate or area is beyond this


@dataclass(frozen=True, eq=False)
class CocoPeople:
    """Labelled persons with their image files; a `People`.

    `annotated` are these and all others of the category: crowds, and persons without a labelled keypoint.
    `image_paths` are the files of all images, by image id.
    """

    skeleton: Skeleton
    persons: tuple[PersonRecord, ...]
    annotated: tuple[PersonRecord, ...]
    image_paths: Mapping[int, str]
    category_id: int = 1

    @property
    def truth(self) -> GroundTruth:
        return GroundTruth(self.skeleton, self.annotated, tuple(self.image_paths), self.category_id)

    def __len__(self) -> int:
        return len(self.persons)

    def record(self, index: int) -> PersonRecord:
        return self.persons[index]

    def image(self, index: int) -> Image:
        return read_image(self.persons[index].image_path)


def load(
    annotation_path: str | Path,
    images_dir: str | Path | None = None,
    skeleton: Skeleton | None = None,
    category: str | None = None,
) -> CocoPeople:
    """The persons of a COCO keypoint JSON that have a labelled keypoint and are no crowd, in file order.

    `images_dir` defaults to `images/` beside the file, or to the file's own folder; images are not opened.
    `category` is the name of one category, by default the first. The skeleton is read from the category (a
    built-in one where the keypoint names are the same); a given one must have as many keypoints. A missing
    area is the box's; `head_size` is read if present. Raises `UserError`: "missing-file", or "bad-annotation"
    naming the entry.
    """
    path = Path(annotation_path)
    sections = _read_sections(path)
    chosen = _category(sections["categories"], category, path)
    skeleton = skeleton or _skeleton(chosen)
    beside = path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    image_paths = _image_paths(sections["images"], Path(images_dir or beside))
    category_ids = sorted(entry.id for entry in sections["categories"])
    persons = []
    for entry in sections["annotations"]:
        category_id = entry.data.get("category_id", chosen.id)
        if category_id not in category_ids:
            raise entry.bad("category_id", _found(category_id), f"one of {category_ids}")
        if category_id == chosen.id and entry.data.get("keypoints"):
            persons.append(_person(entry, skeleton, image_paths))
    return people_of(skeleton, persons, image_paths, chosen.id)


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
    skeleton, persons = people.skeleton, people.truth.persons
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


@dataclass(frozen=True)
class _Entry:
    """One entry of the JSON and its place in it, to read values that are what they should be."""

    data: Mapping[str, Any]
    place: str

    @property
    def id(self) -> int:
        return self.integer("id")

    def bad(self, key: str, found: str, expected: str) -> UserError:
        own_id = "" if key == "id" else f" (id {self.data.get('id')})"
        return _bad(f"{self.place}.{key}{own_id}", found, expected)

    def integer(self, key: str) -> int:
        value = self.data.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.bad(key, _found(value), "an integer")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.data.get(key, default)
        if not _is_number(value) or value < 0:
            raise self.bad(key, _found(value), "a finite number, 0 or more")
        return float(value)

    def numbers(self, key: str, count: int, meaning: str) -> np.ndarray:
        value = self.data.get(key)
        expected = f"{count} finite numbers: {meaning}"
        if not isinstance(value, list) or len(value) != count:
            found = f"has {len(value)} numbers" if isinstance(value, list) else _found(value)
            raise self.bad(key, found, expected)
        for i, number in enumerate(value):
            if not _is_number(number):
                raise self.bad(f"{key}[{i}]", _found(number), expected)
        return np.array(value, dtype=np.float64)


def _person(entry: _Entry, skeleton: Skeleton, image_paths: Mapping[int, str]) -> PersonRecord:
    image_id = entry.integer("image_id")
    if image_id not in image_paths:
        raise entry.bad("image_id", f"is {image_id}", "the id of an entry of images")
    count = skeleton.num_keypoints
    triples = entry.numbers("keypoints", 3 * count, f"x, y, visibility of {count} keypoints")
    triples = triples.reshape(count, 3)
    wrong = np.flatnonzero(~np.isin(triples[:, 2], (0, 1, 2)))
    if wrong.size:
        k = int(wrong[0])
        found = f"is {triples[k, 2]:g} ({skeleton.keypoints[k]})"
        raise entry.bad(f"keypoints[{3 * k + 2}]", found, "a visibility of 0, 1 or 2")
    box = entry.numbers("bbox", 4, "x, y, width, height")
    if (box[2:] < 0).any():
        raise entry.bad("bbox", f"is {box.tolist()}", "a width and a height of 0 or more")
    return PersonRecord(
        image_id=image_id,
        annotation_id=entry.id,
        bbox_xyxy=np.concatenate([box[:2], box[:2] + box[2:]]),
        keypoints_xy=np.ascontiguousarray(triples[:, :2]),
        visibility=triples[:, 2].astype(np.int64),
        area=entry.number("area", default=float(box[2] * box[3])),
        iscrowd=bool(entry.data.get("iscrowd", 0)),
        head_size=entry.number("head_size", default=0.0) or None,
        image_path=image_paths[image_id],
    )


def _read_sections(path: Path) -> dict[str, list[_Entry]]:
    """The three lists of the file, of entries that have an id of their own."""
    text = documents.read_text(path, code="bad-annotation")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(str(path), f"is not JSON: {error}", "COCO keypoint JSON") from error
    names = ("images", "annotations", "categories")
    expected = "an object with the lists images, annotations and categories"
    if not isinstance(document, dict):
        raise _bad(str(path), _found(document), expected)
    for name in names:
        if not isinstance(document.get(name), list):
            raise _bad(f"{path}: {name}", _found(document.get(name)), expected)
    return {name: _entries(document[name], f"{path}: {name}") for name in names}


def _entries(items: list[Any], place: str) -> list[_Entry]:
    entries = []
    ids: set[int] = set()
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            raise _bad(f"{place}[{i}]", _found(item), "an object")
        entry = _Entry(item, f"{place}[{i}]")
        if entry.id in ids:
            raise entry.bad("id", f"is {entry.id} again", "an id of its own")
        ids.add(entry.id)
        entries.append(entry)
    return entries


def _category(categories: list[_Entry], name: str | None, path: Path) -> _Entry:
    for entry in categories:
        if name is None or entry.data.get("name") == name:
            return entry
    known = ", ".join(str(entry.data.get("name")) for entry in categories)
    raise _bad(f"{path}: categories", f"has no '{name}'" if name else "is empty", known or "a category")


def _skeleton(category: _Entry) -> Skeleton:
    names = category.data.get("keypoints")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise category.bad("keypoints", _found(names), "a list of keypoint names")
    for known in SKELETONS.values():
        if known.keypoints == tuple(names):
            return known
    pairs = category.data.get("flip_pairs")
    if pairs is None:
        pairs = [(name, other) for name in names if (other := name.replace("left", "right")) in names and other != name]
        alone = ", ".join(name for name in names if name not in itertools.chain(*pairs))
        logger.warning(
            "%s: no flip_pairs; guessed %s; taken to lie on the middle line: %s", category.place, pairs, alone
        )
    description = {
        "name": category.data.get("name", "custom"),
        "keypoints": names,
        "mirror_pairs": pairs,
        "limbs": _limbs(category, names),
        "sigmas": category.data.get("sigmas", []),
    }
    return documents.from_data(Skeleton, description, code="bad-annotation", where=category.place)


def _limbs(category: _Entry, names: list[str]) -> list[tuple[str, str]]:
    pairs = category.data.get("skeleton", [])
    expected = f"pairs of keypoint numbers, 1 to {len(names)}"
    if not isinstance(pairs, list):
        raise category.bad("skeleton", _found(pairs), expected)
    for i, pair in enumerate(pairs):
        is_pair = isinstance(pair, list) and len(pair) == 2 and all(type(number) is int for number in pair)
        if not is_pair or not 1 <= min(pair) <= max(pair) <= len(names):
            raise category.bad(f"skeleton[{i}]", _found(pair), expected)
    return [(names[a - 1], names[b - 1]) for a, b in pairs]


def _image_paths(images: list[_Entry], folder: Path) -> dict[int, str]:
    paths = {}
    for entry in images:
        name = entry.data.get("file_name")
        if not isinstance(name, str) or not name:
            raise entry.bad("file_name", _found(name), "a file name")
        parts = PureWindowsPath(name)  # knows both slashes
        if parts.anchor or ".." in parts.parts:
            raise entry.bad("file_name", _found(name), f"a path that stays inside {folder}")
        paths[entry.id] = str(folder / name)
    return paths


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def _found(value: Any) -> str:
    if value is None:
        return "is missing"
    text = json.dumps(value)
    return f"is {text}" if len(text) <= 60 else f"is {text[:50]} ..."


def _bad(place: str, found: str, expected: str) -> UserError:
    return UserError("bad-annotation", f"{place} {found}", expected)
