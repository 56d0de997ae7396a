"""`data check`: everything that is wrong with a dataset's annotation files and images, before a run stumbles on it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posefabric import documents
from posefabric.data.annotations import AnnotationFile, Wanted, read_annotations
from posefabric.data.coco import images_beside
from posefabric.data.images import read_header, read_image
from posefabric.data.json_problems import MAX_JSON
from posefabric.data.persons import Size, check_in_image
from posefabric.data.problems import Findings, Place
from posefabric.data.sources import SPLITS, DatasetFile
from posefabric.errors import UserError
from posefabric.progress import Progress
from posefabric.skeletons import Skeleton, skeleton_from_data


@dataclass(frozen=True)
class Request:
    """What is checked: the folder of the images (else beside the file), one category (else all with keypoints)."""

    images: Path | None = None
    category: str | None = None
    skeleton: Skeleton | None = None
    max_bytes: int = MAX_JSON


def check(data: Path, request: Request = Request()) -> list[Findings]:
    """What is wrong with a COCO keypoint JSON, or with a dataset YAML and each file it names; images are decoded.

    Without a folder of images, those beside the file are looked at if any is there. Raises `UserError`:
    "missing-file", or "bad-dataset" for a YAML that cannot be understood.
    """
    if data.suffix in (".yaml", ".yml"):
        return _check_dataset(data, request)
    return [_check_file(data, request).findings]


def _check_dataset(path: Path, request: Request) -> list[Findings]:
    content = documents.read_yaml(path, code="bad-dataset")
    described = documents.from_data(DatasetFile, content, code="bad-dataset", where=str(path))
    findings = Findings(str(path))
    skeleton = _skeleton(findings, described.skeleton)
    checked: dict[str, AnnotationFile] = {}
    for split in SPLITS:
        name = described.annotations_of(split)
        if name is None or name in checked:
            continue
        folder = described.images if isinstance(described.images, str) else described.images.get(split)
        place = Place(f"/{split}" if described.annotations is None else "/annotations")
        if not (path.parent / name).is_file():
            findings.add(
                "missing-file", place, f"no file {path.parent / name}", "a COCO keypoint JSON", "name the file"
            )
        elif folder is None and request.images is None:
            findings.add("bad-dataset", Place(f"/images/{split}"), "nothing", "a folder")
        else:
            images = request.images or path.parent / str(folder)
            category = request.category or described.category
            own = Request(images, category, skeleton, request.max_bytes)
            checked[name] = _check_file(path.parent / name, own)
    _note_shared_images(findings, checked)
    return [findings, *(file.findings for file in checked.values())]


def _skeleton(findings: Findings, described: Any) -> Skeleton | None:
    """The skeleton that a dataset YAML describes; None where it has none or a wrong one (then told)."""
    if described is None:
        return None
    try:
        return skeleton_from_data(described, where=f"{findings.file}: skeleton")
    except UserError as error:
        found = "; ".join(line.strip() for line in error.given.splitlines())
        findings.add("bad-skeleton", Place("/skeleton"), found, error.allowed or "a skeleton without contradictions")
        return None


def _note_shared_images(findings: Findings, checked: Mapping[str, AnnotationFile]) -> None:
    """The same picture in two splits makes validation flatter."""
    first: dict[str, str] = {}
    for name, file in checked.items():
        for path in file.image_paths.values():
            other = first.setdefault(path, name)
            if other != name:
                findings.note(f"images are in {other} and in {name}", path)


def _check_file(path: Path, request: Request) -> AnnotationFile:
    folder = request.images or images_beside(path)
    wanted = Wanted(request.category, request.skeleton, every=request.skeleton is None)
    file = read_annotations(path, folder, wanted, request.max_bytes)
    count = sum(map(len, file.persons.values()))
    file.findings.looked_at = f"{count:,} persons, {len(file.image_paths):,} images"
    named = {image_id: image for image_id, image in file.image_paths.items() if image}
    if not any(map(os.path.exists, named.values())):
        if named and request.images:
            found = f"none of its {len(named):,} files in {folder} (the first is {next(iter(named.values()))})"
            file.findings.add(
                "missing-file", Place("/images"), found, "the image files", "name their folder with --images"
            )
        elif named:
            file.findings.remarks.append(f"no images in {folder}: none were looked at; --images names their folder")
            file.findings.looked_at += " (not opened)"
        return file
    true_sizes = _check_images(file)
    for category in file.chosen:
        for person, index in zip(file.persons[category.id], file.places[category.id], strict=True):
            size = None if person.image_id in file.sizes else true_sizes.get(person.image_id)
            if size is not None and category.skeleton is not None and person.visibility.any():
                place = Place(f"/annotations/{index}", person.annotation_id, person.image_id)
                check_in_image(file.findings, place, person, size, category.skeleton)
    return file


def _check_images(file: AnnotationFile) -> dict[int, Size]:
    """The true sizes of the images that can be decoded, by image id; what is wrong with the others is told."""
    sizes: dict[int, Size] = {}
    seen: dict[str, int] = {}
    with Progress("images", len(file.image_paths)) as progress:
        for index, (image_id, path) in zip(file.indexes, file.image_paths.items(), strict=True):
            progress.advance()
            if path and path not in seen:
                seen[path] = image_id
                place = Place(f"/images/{index}", image_id=image_id)
                try:
                    sizes[image_id] = _check_image(file.findings, place, path, file.sizes.get(image_id))
                except UserError as error:
                    file.findings.add(error.code, place, error.given, error.allowed or "an image file")
            elif path in seen and seen[path] in sizes:
                file.findings.note("entries of images with the file of another entry", f"/images/{index}")
                sizes[image_id] = sizes[seen[path]]
    return sizes


def _check_image(findings: Findings, place: Place, path: str, size: Size | None) -> Size:
    """Decode an image and compare its size, width and height, with what the file says."""
    header = read_header(path)
    read_image(path)
    height, width = header.hw
    if size is not None and size != (width, height):
        found = f"width {size[0]:g}, height {size[1]:g}"
        turned = size == (height, width)
        fix = (
            "the picture is turned (EXIF orientation): write its upright size and annotate in its pixels"
            if turned
            else ""
        )
        findings.add("size-differs", place, found, f"width {width}, height {height}, those of the upright picture", fix)
    for note in header.notes:
        findings.note(f"image files: {note}", place.pointer)
    return (width, height)


def size_in_bytes(text: str) -> int:
    """`"300M"` as bytes: a number, and K, M or G for powers of 1000. Raises `UserError("bad-value")`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)B?", text.strip().upper())
    if match is None:
        raise UserError("bad-value", f"'{text}' is no size of a file", "a number of bytes such as 300M or 2G")
    return int(float(match[1]) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match[2]])
