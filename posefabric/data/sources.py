"""What a user calls DATA: the built-in synthetic people, a dataset YAML, or a COCO keypoint JSON.

A dataset YAML has `images` (one folder, or one per split) and either `train`, `val` and optionally `test` (COCO
keypoint JSON), or `annotations`, one file that is split by image. Optional are `category`, for files of several, and
`skeleton` (a built-in name or its fields). Paths are relative to the YAML.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from posefabric import documents
from posefabric.config import Config
from posefabric.data import coco
from posefabric.data.boxes import ANNOTATED, STRETCHED, detected, stretched, unlabelled
from posefabric.data.coco import CocoPeople
from posefabric.data.images import shown
from posefabric.data.memory import InMemory
from posefabric.data.records import People
from posefabric.data.results import read_boxes
from posefabric.data.synthetic import SyntheticPeople
from posefabric.documents import STRICT
from posefabric.errors import UserError, unknown_name
from posefabric.settings import DataSettings
from posefabric.skeletons import Skeleton, skeleton_from_data
from posefabric.texts import read_yaml

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SYNTHETIC = "synthetic"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetFile:
    """A dataset YAML as written."""

    images: str | Mapping[str, str]
    train: str | None = None
    val: str | None = None
    test: str | None = None
    annotations: str | None = None
    category: str | None = None
    skeleton: Any = None

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        named = [name for name in SPLITS if getattr(self, name)]
        if self.annotations and named:
            raise UserError(
                "bad-dataset", f"annotations beside {', '.join(named)}", "annotations alone, or train and val"
            )
        if not self.annotations and not (self.train and self.val):
            raise UserError("bad-dataset", "no annotation files", "train and val, or annotations (split by image)")

    def annotations_of(self, split: str) -> str | None:
        """The file that holds a split."""
        name: str | None = self.annotations or getattr(self, split)
        return name

    def files(self) -> list[str]:
        """Every annotation file it names, once."""
        return list(dict.fromkeys(name for split in SPLITS if (name := self.annotations_of(split))))


@dataclass(frozen=True)
class Where:
    """What a command adds to DATA: the folder of a COCO JSON's images, and which of its categories is meant."""

    images: Path | None = None
    category: str | None = None


def open_people(data: str, split: str, settings: DataSettings, where: Where = Where()) -> People:
    """One split of DATA. Raises `UserError` for anything that is no dataset."""
    people = _open(data, split, settings, where)
    return InMemory(people) if settings.in_memory else people


def open_evaluated(
    data: str, split: str, config: Config, where: Where = Where(), boxes: Path | None = None
) -> tuple[People, str]:
    """One split as a net is measured on it, and in words where its boxes come from.

    `boxes`, a COCO detection result file, puts the persons that a detector found in the place of those annotated. A
    split without a single label (a test set) gives everybody annotated.
    """
    _check_split(split)
    if data == SYNTHETIC:
        if boxes:
            raise UserError("bad-dataset", f"--boxes with '{SYNTHETIC}'", "a dataset of files, whose images have ids")
        return _open(data, split, config.data, where), ANNOTATED
    people = _read_people(Path(data), split, config.data, where)
    if boxes:
        found = read_boxes(boxes, people.image_paths, people.category_id)
        people = detected(people, found, config.evaluation.box_threshold)
        if low := len(found) - len(people):
            least = config.evaluation.box_threshold
            logger.warning("%s: left out: %d with a score below evaluation.box_threshold (%g)", boxes.name, low, least)
        return people, f"{len(people)} boxes of {boxes.name}"
    if len(people) == 0:
        return unlabelled(people), ANNOTATED
    people = stretched(people) if config.data.stretch_boxes else people
    return people, source_of_boxes(people)


def source_of_boxes(people: People) -> str:
    """In words where annotated boxes come from; those of synthetic people are never stretched."""
    held = people.people if isinstance(people, InMemory) else people
    return STRETCHED if isinstance(held, CocoPeople) and held.stretched else ANNOTATED


def require_images(*groups: People) -> None:
    """Raises `UserError("missing-file")` where image files of people are missing; counts them, and opens none."""
    files = [people.people if isinstance(people, InMemory) else people for people in groups]
    persons = [person for people in files if isinstance(people, CocoPeople) for person in people.persons]
    paths = list(dict.fromkeys(Path(person.image_path) for person in persons))
    folders = {path.parent for path in paths if path.parent.is_dir() and os.access(path.parent, os.R_OK)}
    listed = {folder: set(os.listdir(folder)) for folder in folders}
    missing = [path for path in paths if path.name not in listed.get(path.parent, ()) and not path.is_file()]
    if missing:
        folder, name = shown(missing[0].parent), shown(missing[0].name)
        raise UserError(
            "missing-file",
            f"{len(missing)} of {len(paths)} image files are missing: {folder} has no {name}",
            todo="Give their folder: --images, or images in the dataset YAML.",
        )


def _check_split(name: str) -> None:
    """Raises `UserError("unknown-name")` for a name that is no split."""
    if name not in SPLITS:
        raise unknown_name("split", name, SPLITS)


def _open(data: str, split: str, settings: DataSettings, where: Where) -> People:
    _check_split(split)
    if data == SYNTHETIC:
        count = settings.synthetic_train if split == "train" else settings.synthetic_val
        return SyntheticPeople(
            count=count,
            seed=SPLITS.index(split),
            image_hw=settings.synthetic_hw,
            variety=settings.synthetic_variety,
        )
    people = _read_people(Path(data), split, settings, where)
    return stretched(people) if settings.stretch_boxes else people


def _read_people(path: Path, split: str, settings: DataSettings, where: Where) -> CocoPeople:
    if path.suffix in (".yaml", ".yml"):
        people = _from_yaml(path, split, where, settings.max_json)
    elif path.suffix == ".json":
        whole = coco.load(path, where.images, category=where.category, max_bytes=settings.max_json)
        people = _share(whole, split, path.name)
    else:
        raise UserError("bad-dataset", f"{path} is no dataset", f"a .yaml, a .json or '{SYNTHETIC}'")
    return replace(people, allow_truncated=settings.allow_truncated)


def _share(people: CocoPeople, split: str, name: str) -> CocoPeople:
    """The part of one file that is the split; images are dealt out by a hash of their ids."""
    groups = coco.split_by_image(people)
    counts = ", ".join(f"{split_name} {len(group)}" for split_name, group in zip(SPLITS, groups, strict=True))
    logger.warning("%s names no splits: its persons are split by image: %s", name, counts)
    return groups[SPLITS.index(split)]


def describe(data: str, where: Where = Where()) -> dict[str, Any]:
    """What a run records of its data: name, a hash of the annotations it stands on, category where one is named."""
    if data == SYNTHETIC:
        return {"name": data}
    path = Path(data)
    files = [path]
    if path.suffix in (".yaml", ".yml"):
        files += [path.parent / name for name in _read(path).files()]
    digest = hashlib.sha256()
    for name in files:
        if not name.is_file():
            raise UserError("missing-file", f"{name} does not exist")
        with name.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    category = {"category": where.category} if where.category else {}
    return {"name": path.name, "sha256": digest.hexdigest(), **category}


def _read(path: Path) -> DatasetFile:
    data = read_yaml(path, code="bad-dataset")
    return documents.from_data(DatasetFile, data, code="bad-dataset", where=str(path))


def _from_yaml(path: Path, split: str, where: Where, max_bytes: int) -> CocoPeople:
    file = _read(path)
    annotations = file.annotations_of(split)
    if annotations is None:
        raise UserError("bad-dataset", f"{path} has no '{split}' split", "a COCO keypoint JSON under that key")
    images = file.images if isinstance(file.images, str) else file.images.get(split)
    if images is None:
        raise UserError("bad-dataset", f"{path}: images.{split} is missing", "a folder")
    skeleton: Skeleton | None = None
    if file.skeleton is not None:
        skeleton = skeleton_from_data(file.skeleton, where=f"{path}: skeleton")
    folder = where.images or path.parent / images
    category = where.category or file.category
    people = coco.load(path.parent / annotations, folder, skeleton, category, max_bytes)
    return _share(people, split, path.name) if file.annotations else people
