"""`data check`: everything that is wrong with a dataset's annotation files and images, before a run stumbles on it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posefabric import documents
from posefabric.data.annotations.categories import check_sides
from posefabric.data.annotations.persons import Size, check_in_image
from posefabric.data.annotations.problems import Findings, Place
from posefabric.data.annotations.reader import AnnotationFile, Wanted, read_annotations
from posefabric.data.coco import images_beside
from posefabric.data.images import read_header, read_image
from posefabric.data.sources import SPLITS, DatasetFile
from posefabric.errors import CODES, UserError
from posefabric.progress import Progress
from posefabric.settings import MAX_JSON
from posefabric.skeletons import Skeleton, skeleton_from_data
from posefabric.texts import read_yaml


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
    content = read_yaml(path, code="bad-dataset")
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
        skeleton = skeleton_from_data(described, where=f"{findings.file}: skeleton")
    except UserError as error:
        found = "; ".join(line.strip() for line in error.given.splitlines())
        findings.add("bad-skeleton", Place("/skeleton"), found, error.allowed or "a skeleton without contradictions")
        return None
    for i, pair in enumerate(skeleton.mirror_pairs):
        check_sides(findings, Place(f"/skeleton/mirror_pairs/{i}"), pair)
    return skeleton


def _note_shared_images(findings: Findings, checked: Mapping[str, AnnotationFile]) -> None:
    """The same picture in two splits makes validation flatter."""
    first: dict[str, str] = {}
    for name, file in checked.items():
        for path in filter(None, file.image_paths.values()):
            other = first.setdefault(path, name)
            if other != name:
                findings.note(f"images are in {other} and in {name}", path)


def _check_file(path: Path, request: Request) -> AnnotationFile:
    folder = request.images or images_beside(path)
    wanted = Wanted(request.category, request.skeleton, every=request.skeleton is None)
    file = read_annotations(path, folder, wanted, request.max_bytes)
    findings = file.findings
    findings.looked_at = f"{sum(map(len, file.persons.values())):,} persons, {len(file.image_paths):,} images"
    named = list(filter(None, file.image_paths.values()))
    if any(map(os.path.exists, named)):
        _check_positions(file, _check_images(file))
    elif named and request.images:
        found = f"none of its {len(named):,} files in {folder} (the first is {named[0]})"
        findings.add("missing-file", Place("/images"), found, "the image files", "name their folder with --images")
    elif named:
        findings.remarks.append(f"no images in {folder}: none were looked at; --images names their folder")
        findings.looked_at += " (not opened)"
    return file


def _check_positions(file: AnnotationFile, true_sizes: Mapping[int, Size]) -> None:
    """Keypoints lie in those images whose size the file does not give."""
    for category in file.chosen:
        for person, index in zip(file.persons[category.id], file.person_indexes[category.id], strict=True):
            size = None if person.image_id in file.sizes else true_sizes.get(person.image_id)
            if size is not None and category.skeleton is not None and person.visibility.any():
                place = Place(f"/annotations/{index}", person.annotation_id, person.image_id)
                check_in_image(file.findings, place, person, size, category.skeleton)


def _check_images(file: AnnotationFile) -> dict[int, Size]:
    """The true sizes of the images that can be decoded, by image id; what is wrong with the others is told once."""
    sizes: dict[int, Size] = {}
    by_path: dict[str, Size | None] = {"": None}
    with Progress("images", len(file.image_paths)) as progress:
        for index, (image_id, path) in zip(file.image_indexes, file.image_paths.items(), strict=True):
            progress.advance()
            place = Place(f"/images/{index}", image_id=image_id)
            if path not in by_path:
                by_path[path] = _decoded_size(file.findings, place, path)
            elif path:
                file.findings.note("entries of images with the file of another entry", place.pointer)
            size = by_path[path]
            if size is not None:
                sizes[image_id] = size
                _compare_sizes(file.findings, place, file.sizes.get(image_id, size), size)
    return sizes


def _decoded_size(findings: Findings, place: Place, path: str) -> Size | None:
    """Width and height of an image that can be decoded whole; None where it cannot (then told)."""
    try:
        header = read_header(path)
        read_image(path)
    except UserError as error:
        fix = error.todo if error.todo != CODES[error.code].cure else ""
        findings.add(error.code, place, error.given, error.allowed or "an image file", fix)
        return None
    for note in header.notes:
        findings.note(f"image files: {note}", place.pointer)
    height, width = header.hw
    return width, height


def _compare_sizes(findings: Findings, place: Place, given: Size, true: Size) -> None:
    if given != true:
        found = f"width {given[0]:g}, height {given[1]:g}"
        expected = f"width {true[0]:g}, height {true[1]:g}, those of the upright picture"
        turned = "the two are exchanged, as for pictures turned by EXIF: write the upright size, annotate in its pixels"
        findings.add("size-differs", place, found, expected, turned if given == true[::-1] else "")


def size_in_bytes(text: str) -> int:
    """`"300M"` as bytes: a number, and K, M or G for powers of 1000. Raises `UserError("bad-value")`."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)([KMG]?)B?", text.strip().upper())
    if match is None:
        raise UserError("bad-value", f"'{text}' is no size of a file", "a number of bytes such as 300M or 2G")
    return int(float(match[1]) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match[2]])
