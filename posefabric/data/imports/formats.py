"""The formats `data import` knows, each a function from a source to a dataset YAML (before stage 1 of the walk).

The source is read only; images stay where they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posefabric.data import coco
from posefabric.data.coco import CocoPeople, people_of
from posefabric.data.imports.datasets import YAML, find_images, refuse_existing, relative, write_dataset, write_yaml
from posefabric.data.imports.lsp import read_lsp, split_lsp
from posefabric.data.imports.mpii import find_annotations, read_mpii
from posefabric.data.imports.mpii_person import MpiiPerson
from posefabric.data.imports.mpii_splits import measured_by, split_persons
from posefabric.data.records import PersonRecord
from posefabric.errors import UserError
from posefabric.skeletons import COCO17, LSP14, MPII16

logger = logging.getLogger(__name__)

COCO_SPLITS = ("train", "val")


@dataclass(frozen=True)
class Request:
    """What the user asks for; `validation` and `truth` (the persons of `gt_valid.mat`) are MPII's."""

    source: Path
    output: Path
    images: Path | None = None
    validation: Path | None = None
    truth: Sequence[PersonRecord] | None = None


@dataclass(frozen=True)
class Imported:
    """The dataset YAML that was written, and the numbers of images and persons of its splits."""

    yaml: Path
    counts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def import_mpii(request: Request) -> Imported:
    """MPII Human Pose: the release, HRNet's lists or the hourglass list."""
    files = find_annotations(request.source)
    validation = read_mpii({request.validation: "val"}) if request.validation else None
    splits = split_persons(read_mpii(files), validation)
    if request.truth is not None:
        splits["val"] = measured_by(splits["val"], request.truth)
    elif any(person.head_size is None for person in splits["val"]):
        logger.warning(
            "the head boxes of persons for validation are not in %s: PCKh will not be the field's "
            "(--heads gt_valid.mat has them)",
            ", ".join(path.name for path in files),
        )
    home = next(iter(files)).parent
    names = (person.image for part in splits.values() for person in part)
    images = find_images(request.images, (home / "images", home.parent / "images", home), names)
    people = {split: _mpii_people(part) for split, part in splits.items()}
    yaml = write_dataset(request.output, people, images, "MPII Human Pose (Andriluka et al., CVPR 2014)")
    return Imported(yaml, {split: _count(part) for split, part in people.items()})


def _mpii_people(persons: Sequence[MpiiPerson]) -> CocoPeople:
    """Annotation ids are row numbers + 1, so rows of a `pred.mat` follow them."""
    ids = {name: i for i, name in enumerate(dict.fromkeys(person.image for person in persons), start=1)}
    records = [person.record(ids[person.image], row) for row, person in enumerate(persons, start=1)]
    return people_of(MPII16, records, {i: name for name, i in ids.items()})


def import_lsp(request: Request) -> Imported:
    """Leeds Sports Pose or its extended training set: a folder with `joints.mat` and `images`, or that file."""
    joints = request.source / "joints.mat" if request.source.is_dir() else request.source
    folders = [request.images] if request.images else [joints.parent / "images", joints.parent]
    persons = read_lsp(joints, next((folder for folder in folders if any(folder.glob("im*1.*"))), None))
    images = find_images(request.images, folders, (person.image_path for person in persons))
    people = {
        split: people_of(LSP14, part, {person.image_id: person.image_path for person in part})
        for split, part in split_lsp(persons).items()
    }
    yaml = write_dataset(request.output, people, images, "Leeds Sports Pose (Johnson and Everingham, 2010 and 2011)")
    return Imported(yaml, {split: _count(part) for split, part in people.items()})


def import_coco(request: Request) -> Imported:
    """COCO: the folder of `annotations/` and the images of 2017, or one keypoint JSON; nothing is copied."""
    refuse_existing([request.output / YAML])
    return (_coco_folder if request.source.is_dir() else _coco_file)(request)


def _coco_file(request: Request) -> Imported:
    beside = request.source.parent / "images"
    images = request.images or (beside if beside.is_dir() else request.source.parent)
    counts = {"all": _count(coco.load(request.source, images))}
    keys: dict[str, str | dict[str, str]] = {
        "images": relative(images, request.output),
        "annotations": relative(request.source, request.output),
    }
    return Imported(write_yaml(request.output, keys, "COCO keypoints, split by image"), counts)


def _coco_folder(request: Request) -> Imported:
    annotations = {split: request.source / f"annotations/person_keypoints_{split}2017.json" for split in COCO_SPLITS}
    images = {split: _coco_images(request, f"{split}2017") for split in COCO_SPLITS}
    tested = request.source / "annotations/image_info_test-dev2017.json"
    if tested.is_file():  # images alone: no annotations, and categories without keypoints
        annotations["test"], images["test"] = tested, _coco_images(request, "test2017")
    skeletons = {"test": COCO17}
    people = {split: coco.load(file, images[split], skeletons.get(split)) for split, file in annotations.items()}
    counts = {split: _count(part) for split, part in people.items()}
    keys: dict[str, str | dict[str, str]] = {
        "images": {split: relative(folder, request.output) for split, folder in images.items()},
        **{split: relative(file, request.output) for split, file in annotations.items()},
        **({"skeleton": COCO17.name} if "test" in people else {}),
    }
    return Imported(write_yaml(request.output, keys, "COCO 2017 keypoints (Lin et al., ECCV 2014)"), counts)


def _coco_images(request: Request, name: str) -> Path:
    roots = [request.images] if request.images else [request.source, request.source / "images"]
    for root in roots:
        if (root / name).is_dir():
            return root / name
    raise UserError("missing-file", f"{' and '.join(map(str, roots))} lack the folder {name}", "the unpacked images")


def _count(people: CocoPeople) -> dict[str, int]:
    """Images, and persons with a labelled keypoint that are no crowd; of a split without any, all persons."""
    return {"images": len(people.image_paths), "persons": len(people) or len(people.annotated)}


FORMATS: dict[str, Callable[[Request], Imported]] = {"mpii": import_mpii, "lsp": import_lsp, "coco": import_coco}
