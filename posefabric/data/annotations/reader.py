"""Behind stage 1 of the walk: the one reader of COCO keypoint files. It tells every problem of a file at once.

The file is read twice, entry by entry: first images and categories, which often stand behind the annotations, then
the annotations. What is kept of it is what the walk needs.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from posefabric.data.annotations.categories import Category, check_order, read_category
from posefabric.data.annotations.fields import MISSING, Fields
from posefabric.data.annotations.json_entries import Entry, JsonError, Opening, pointer, read_entries
from posefabric.data.annotations.json_problems import (
    as_id,
    check_bytes,
    check_hope,
    check_id,
    check_new,
    tell_constants,
    tell_json_error,
)
from posefabric.data.annotations.persons import Size, read_person
from posefabric.data.annotations.problems import GIVE_UP, Findings, Place, printable, shown
from posefabric.data.records import PersonRecord
from posefabric.settings import MAX_JSON
from posefabric.skeletons import Skeleton

MAX_CATEGORIES = 10_000
"""No file may have more."""

SECTIONS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class Wanted:
    """What of a file is meant: a category by name (else the first with keypoints), its skeleton where one is given.

    `every` reads the persons of all categories with keypoints.
    """

    category: str | None = None
    skeleton: Skeleton | None = None
    every: bool = False


@dataclass
class AnnotationFile:
    """What a COCO keypoint file holds, and `findings` about it; keys are ids.

    `image_paths` are "" where the name is wrong, `sizes` those that the file gives, `image_indexes` the places of
    `image_paths` in the file's list. `persons` are by category, with their places in `person_indexes`. `sections`
    count the entries of each list.
    """

    findings: Findings
    image_paths: dict[int, str] = field(default_factory=dict)
    image_indexes: array[int] = field(default_factory=lambda: array("L"))
    sizes: dict[int, Size] = field(default_factory=dict)
    categories: dict[int, Category] = field(default_factory=dict)
    chosen: list[Category] = field(default_factory=list)
    persons: dict[int, list[PersonRecord]] = field(default_factory=dict)
    person_indexes: dict[int, array[int]] = field(default_factory=dict)
    sections: dict[str, int] = field(default_factory=dict)


def read_annotations(path: Path, folder: Path, wanted: Wanted = Wanted(), max_bytes: int = MAX_JSON) -> AnnotationFile:
    """The file with everything that is wrong in it; `folder` is that of its images, which are not opened.

    Raises `UserError("missing-file")` only.
    """
    file = AnnotationFile(Findings(str(path)))
    encoding = check_bytes(path, file.findings, max_bytes)
    if encoding:
        try:
            _read_frame(file, read_entries(path, encoding), folder)
            _check_sections(file, wanted)
            _choose(file, wanted)
            _read_persons(file, read_entries(path, encoding))
        except JsonError as error:
            tell_json_error(file.findings, error)
    return file


def _read_frame(file: AnnotationFile, entries: Iterator[Opening | Entry], folder: Path) -> None:
    """Images and categories, and what is wrong with the document as a whole."""
    ids: dict[str, set[int]] = {"images": set(), "categories": set()}
    num_nameless = 0
    for entry in entries:
        if entry.section == "":
            raise _no_object(entry, entries)
        if isinstance(entry, Opening):
            file.sections[entry.section] = 0
            continue
        check_hope(file.findings, entry)
        if entry.index is not None:
            file.sections[entry.section] += 1
        elif entry.section in SECTIONS:
            file.sections[entry.section] = -1
            file.findings.add("missing-section", Place(entry.pointer), shown(entry.value), "a list")
        if entry.section == "annotations":
            num_nameless += not (isinstance(entry.value, dict) and "id" in entry.value)
            if num_nameless >= GIVE_UP:
                raise JsonError("implausible", entry.pointer, f"{num_nameless:,} entries that have no id")
            continue
        tell_constants(file.findings, entry, Place(entry.pointer))
        if entry.index is not None and entry.section in ids:
            _read_entry(file, entry, ids[entry.section], folder)


def _no_object(first: Opening | Entry, entries: Iterator[Opening | Entry]) -> JsonError:
    """What to say of a document that is a list or a single value."""
    if isinstance(first, Entry):
        return JsonError("not-an-object", "", shown(first.value))
    member = next(entries, None)
    value = member.value if isinstance(member, Entry) else None
    keys = value if isinstance(value, dict) else {}
    fix = ""
    if "score" in keys:
        fix = "this is a list of results: name the file they are measured against"
    elif {"center", "scale"} <= set(keys):
        fix = "this is a list of MPII persons: `posefabric data import mpii` makes a dataset of it"
    return JsonError("not-an-object", "", "a list", fix)


def _read_entry(file: AnnotationFile, entry: Entry, ids: set[int], folder: Path) -> None:
    """One image or category."""
    findings, place = file.findings, Place(entry.pointer)
    if not isinstance(entry.value, dict):
        findings.add("bad-entry", place, shown(entry.value), "an object")
        return
    own_id = entry.value.get("id", MISSING)
    if entry.section == "images":
        place = Place(entry.pointer, image_id=as_id(own_id))
    if not check_id(findings, place, "id", own_id) or not check_new(findings, place, own_id, ids):
        return
    if entry.section == "images":
        _read_image(file, entry, place, folder)
    elif len(ids) > MAX_CATEGORIES:
        raise JsonError("implausible", entry.pointer, f"more than {MAX_CATEGORIES:,} categories")
    else:
        file.categories[own_id] = read_category(findings, place, own_id, entry.value)


def _read_image(file: AnnotationFile, entry: Entry, place: Place, folder: Path) -> None:
    name, image_id, index = entry.value.get("file_name", MISSING), entry.value["id"], entry.index
    assert index is not None
    file.image_paths[image_id] = ""
    file.image_indexes.append(index)
    if not isinstance(name, str) or not name or not _can_be_a_path(name):
        file.findings.add("bad-file-name", place.at("file_name"), shown(name), "the name of a file")
        return
    parts = PureWindowsPath(name)  # knows both slashes
    if parts.anchor or ".." in parts.parts:
        file.findings.add("unsafe-path", place.at("file_name"), shown(name), "a path that stays inside the folder")
        return
    file.image_paths[image_id] = str(folder / name)
    size = tuple(entry.value.get(key, MISSING) for key in ("width", "height"))
    if size == (MISSING, MISSING):
        file.findings.note("images without width and height", place.pointer)
        return
    for key, value in zip(("width", "height"), size, strict=True):
        if type(value) not in (int, float) or not 1 <= value < 1e9 or value != int(value):
            file.findings.add("bad-size", place.at(key), shown(value), "a whole number of pixels, 1 or more")
            return
    file.sizes[image_id] = size


def _can_be_a_path(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half a character
        return False


def _check_sections(file: AnnotationFile, wanted: Wanted) -> None:
    """All three lists are there and not empty; with a skeleton from elsewhere, a file may hold images alone."""
    for name in SECTIONS:
        count = file.sections.get(name)
        if count is None and name == "annotations" and wanted.skeleton:
            file.findings.remarks.append("there are no annotations: these are images alone")
        elif count is None:
            file.findings.add("missing-section", Place(pointer(name)), "nothing", f"a list of {name}")
        elif count == 0:
            file.findings.add("empty-section", Place(pointer(name)), "an empty list", f"a list of {name}")


def _choose(file: AnnotationFile, wanted: Wanted) -> None:
    """Which categories are read: that of the name wanted, else the first with keypoints, or every one."""
    findings, every = file.findings, list(file.categories.values())
    named = [category for category in every if wanted.category in (None, category.name)]
    if every and not named:
        names = ", ".join(shown(category.name) for category in every)
        findings.add("unknown-name", Place("/categories"), f"no category {shown(wanted.category)}", f"one of {names}")
    chosen = [category for category in named if category.skeleton]
    told = findings.counts["missing-keypoint-names"] + findings.counts["bad-keypoint-names"] > 0
    if named and not (chosen or wanted.skeleton or told):
        place = named[0].place.at("keypoints")
        findings.add("missing-keypoint-names", place, "nothing", "a list of keypoint names")
    if len(chosen) > 1 and not wanted.every:
        first, *others = (printable(category.name) for category in chosen)
        findings.remarks.append(f"several categories have keypoints: '{first}' is taken, not {', '.join(others)}")
        chosen = chosen[:1]
    if not wanted.skeleton:
        findings.remarks += [category.remark for category in chosen if category.remark]
    if wanted.skeleton and named:
        chosen = [_with_skeleton(findings, (chosen or named)[0], wanted.skeleton)]
    file.chosen = chosen


def _with_skeleton(findings: Findings, category: Category, given: Skeleton) -> Category:
    if category.skeleton is not None:
        check_order(findings, category.place, given, category.skeleton.keypoints)
    return Category(category.id, category.name, given, category.place)


def _read_persons(file: AnnotationFile, entries: Iterator[Opening | Entry]) -> None:
    ids: set[int] = set()
    chosen = {category.id: category for category in file.chosen}
    file.persons = {category_id: [] for category_id in chosen}
    file.person_indexes = {category_id: array("L") for category_id in chosen}
    for entry in entries:
        if isinstance(entry, Entry) and entry.section == "annotations" and entry.index is not None:
            _read_annotation(file, entry, ids, chosen)


def _read_annotation(file: AnnotationFile, entry: Entry, ids: set[int], chosen: dict[int, Category]) -> None:
    check_hope(file.findings, entry)
    if not isinstance(entry.value, dict):
        file.findings.add("bad-entry", Place(entry.pointer), shown(entry.value), "an object")
        return
    place = Place(entry.pointer, as_id(entry.value.get("id")), as_id(entry.value.get("image_id")))
    fields = Fields(file.findings, place, entry.value, bool(entry.constants))
    tell_constants(file.findings, entry, place)
    known = _check_own_id(fields, ids) & _check_image_id(fields, file)
    category_id = fields.get("category_id")
    if not check_id(file.findings, place, "category_id", category_id):
        return
    if file.categories and category_id not in file.categories:
        listed = ", ".join(map(str, sorted(file.categories)[:20]))
        fields.bad("unknown-category", "category_id", shown(category_id), f"one of {listed}")
    person = _read_keypoints(file, fields, chosen[category_id], known) if category_id in chosen else None
    if person is not None and known and entry.index is not None:
        file.persons[category_id].append(person)
        file.person_indexes[category_id].append(entry.index)


def _check_own_id(fields: Fields, ids: set[int]) -> bool:
    value = fields.get("id")
    if not check_id(fields.findings, fields.place, "id", value) or not check_new(
        fields.findings, fields.place, value, ids
    ):
        return False
    if value == 0:
        fields.bad("id-zero", "id", "0", "1 or more")
    return True


def _check_image_id(fields: Fields, file: AnnotationFile) -> bool:
    value = fields.get("image_id")
    if not check_id(fields.findings, fields.place, "image_id", value):
        return False
    if file.image_paths and value not in file.image_paths:
        fields.bad("unknown-image", "image_id", shown(value), "the id of an entry of images")
    return value in file.image_paths


def _read_keypoints(file: AnnotationFile, fields: Fields, category: Category, known: bool) -> PersonRecord | None:
    """The person of an annotation; its fields are checked even where its ids are not `known`."""
    if fields.get("keypoints") in (MISSING, []):
        file.findings.note(f"annotations of '{category.name}' without keypoints", fields.place.pointer)
        return None
    assert category.skeleton is not None
    if not known:
        return read_person(fields, category.skeleton, (0, 0), "", None)
    own_id, image_id = fields.get("id"), fields.get("image_id")
    paths, sizes = file.image_paths, file.sizes
    return read_person(fields, category.skeleton, (own_id, image_id), paths[image_id], sizes.get(image_id))
