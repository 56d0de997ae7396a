"""What a user calls DATA: the built-in synthetic people, a dataset YAML, or a COCO keypoint JSON.

A dataset YAML has `images` (one folder, or one per split), `train`, `val`, optionally `test` (COCO keypoint JSON), and
optionally `skeleton` (a built-in name or its fields). Paths are relative to the YAML.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from posefabric import documents
from posefabric.config import DataSettings
from posefabric.data import coco
from posefabric.data.memory import InMemory
from posefabric.data.records import People
from posefabric.data.synthetic import SyntheticPeople
from posefabric.errors import UserError, unknown_name
from posefabric.skeletons import Skeleton, skeleton_from_data

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SYNTHETIC = "synthetic"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetFile:
    """A dataset YAML as written."""

    images: str | Mapping[str, str]
    train: str
    val: str
    test: str | None = None
    skeleton: Any = None

    __pydantic_config__ = ConfigDict(extra="forbid")


def open_people(data: str, split: str, settings: DataSettings, images: Path | None = None) -> People:
    """One split of DATA. Raises `UserError` for anything that is no dataset."""
    people = _open(data, split, settings, images)
    return InMemory(people) if settings.in_memory else people


def _open(data: str, split: str, settings: DataSettings, images: Path | None) -> People:
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if data == SYNTHETIC:
        count = settings.synthetic_train if split == "train" else settings.synthetic_val
        return SyntheticPeople(
            count=count,
            seed=SPLITS.index(split),
            image_hw=settings.synthetic_hw,
            variety=settings.synthetic_variety,
        )
    path = Path(data)
    if path.suffix in (".yaml", ".yml"):
        return _from_yaml(path, split)
    if path.suffix == ".json":
        groups = coco.split_by_image(coco.load(path, images))
        counts = ", ".join(f"{name} {len(group)}" for name, group in zip(SPLITS, groups, strict=True))
        logger.warning("%s names no splits: its persons are split by image: %s", path.name, counts)
        return groups[SPLITS.index(split)]
    raise UserError("bad-dataset", f"{data} is no dataset", f"a .yaml, a .json or '{SYNTHETIC}'")


def describe(data: str, settings: DataSettings) -> dict[str, Any]:
    """What a run records of its data: the name, and a hash of the annotations it stands on."""
    if data == SYNTHETIC:
        return {"name": data}
    path = Path(data)
    files = [path]
    if path.suffix in (".yaml", ".yml"):
        file = _read(path)
        files += [path.parent / name for name in (file.train, file.val, file.test) if name]
    digest = hashlib.sha256()
    for name in files:
        if not name.is_file():
            raise UserError("missing-file", f"{name} does not exist")
        digest.update(name.read_bytes())
    return {"name": path.name, "sha256": digest.hexdigest()}


def _read(path: Path) -> DatasetFile:
    data = documents.read_yaml(path, code="bad-dataset")
    return documents.from_data(DatasetFile, data, code="bad-dataset", where=str(path))


def _from_yaml(path: Path, split: str) -> People:
    file = _read(path)
    annotations = {"train": file.train, "val": file.val, "test": file.test}[split]
    if annotations is None:
        raise UserError("bad-dataset", f"{path} has no '{split}' split", "a COCO keypoint JSON under that key")
    images = file.images if isinstance(file.images, str) else file.images.get(split)
    if images is None:
        raise UserError("bad-dataset", f"{path}: images.{split} is missing", "a folder")
    skeleton: Skeleton | None = None
    if file.skeleton is not None:
        skeleton = skeleton_from_data(file.skeleton, where=f"{path}: skeleton")
    return coco.load(path.parent / annotations, path.parent / images, skeleton)
