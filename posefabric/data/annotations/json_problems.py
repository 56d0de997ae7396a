"""Behind stage 1 of the walk: what may be wrong with a user's JSON whatever it holds: size, encoding, syntax, ids."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from posefabric.data.annotations.json_entries import Entry, JsonError
from posefabric.data.annotations.problems import GIVE_UP, Findings, Id, Place, printable, shown
from posefabric.errors import UserError
from posefabric.settings import MAX_JSON

LARGEST_ID = 2**53 - 1
"""Beyond it, other readers of JSON round."""

_EXPECTED = {
    "json-empty": "a JSON document",
    "not-an-object": "an object with images, annotations, categories",
    "no-results": "a list of results",
    "implausible": "images, annotations and categories",
    "too-many-problems": "few problems",
    "duplicate-key": "each key once",
}
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32 with a byte order mark"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32 with a byte order mark"),
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16 (little endian) with a byte order mark"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16 (big endian) with a byte order mark"),
    (b"{\x00", "utf-16-le", "UTF-16 (little endian)"),
    (b"\x00{", "utf-16-be", "UTF-16 (big endian)"),
    (b"\x1f\x8b", "", "a gzip archive"),
    (b"PK\x03\x04", "", "a zip archive"),
)
"""How files begin that are no plain UTF-8; with "" they are not read on."""


def check_bytes(path: Path, findings: Findings, max_bytes: int = MAX_JSON) -> str:
    """The encoding to read a file in, judged by its size and its beginning; "" where it is not to be read (then told).

    Raises `UserError("missing-file")` for what is no regular file.
    """
    if not path.is_file():
        raise UserError("missing-file", f"{path} does not exist or is not a file")
    size = path.stat().st_size
    if size > max_bytes:
        findings.add("too-large", Place(""), f"{size:,} bytes", f"at most {max_bytes:,} bytes")
        return ""
    with path.open("rb") as file:
        head = file.read(4)
    for mark, encoding, name in _MARKS:
        if head.startswith(mark):
            fix = "" if encoding else "unpack it and name the file inside"
            findings.add("json-encoding", Place(""), name, "plain UTF-8 text", fix)
            return encoding
    return "utf-8"


def tell_json_error(findings: Findings, error: JsonError) -> None:
    """Nothing behind that place was read."""
    findings.add(error.code, Place(error.pointer), error.found, _EXPECTED.get(error.code, "JSON"), error.fix)


def check_hope(findings: Findings, entry: Entry) -> None:
    """Raise `JsonError` where so much is wrong that reading on tells nothing."""
    if findings.num_blocking >= GIVE_UP:
        found = f"{GIVE_UP:,} problems before this place, and read no further"
        raise JsonError("too-many-problems", entry.pointer, found)


def tell_constants(findings: Findings, entry: Entry, place: Place) -> None:
    """Keys that stand twice in an object of the entry, and every NaN and Infinity in it, which JSON does not have."""
    for key in entry.repeated:
        findings.add("duplicate-key", place, f"the key {shown(key)} twice in one object", "each key once")
    if entry.constants:
        for (steps, value), where in zip(_not_finite(entry.value, ()), entry.constants, strict=False):
            findings.add("not-finite", place.at(*steps), f"{shown(value)} at {where}", "a finite number")
    if entry.num_unplaced:
        findings.add("not-finite", place, f"{entry.num_unplaced:,} more NaN or Infinity", "finite numbers")


def _not_finite(value: Any, steps: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """Where a document's numbers are not finite, in its order."""
    if isinstance(value, float) and not math.isfinite(value):
        yield steps, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _not_finite(item, (*steps, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_finite(item, (*steps, index))


def check_id(findings: Findings, place: Place, key: str, value: Any) -> bool:
    """Whether an id is an integer that every reader can hold; told where it is not."""
    if type(value) is int and 0 <= value <= LARGEST_ID:
        return True
    kind = {str: " (text)", float: " (not an integer)", bool: " (a truth value)"}.get(type(value), "")
    findings.add("bad-id", place.at(key), f"{shown(value)}{kind}", f"an integer, 0 to {LARGEST_ID}")
    return False


def check_new(findings: Findings, place: Place, value: int, ids: set[int]) -> bool:
    """Whether an id is the first of its kind; told where it is not."""
    if value in ids:
        findings.add("duplicate-id", place.at("id"), f"{value} again", "an id that no entry before it has")
        return False
    ids.add(value)
    return True


def as_id(value: Any) -> Id:
    """An id as it stands in the file, to name an entry by; None where it names nothing."""
    if isinstance(value, str):
        return printable(value[:60])
    return value if type(value) is int else None
