"""Behind stage 1 of the walk: JSON files of any size, read entry by entry in bounded memory.

What is decoded at one time is a window of the file, about a megabyte; no more than one entry of a list needs to fit.
So a file costs what its reader keeps of it, however it is nested. Errors say line and column.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

WINDOW = 1 << 20
"""Characters read at a time."""

LARGEST_ENTRY = 64 << 20
"""No entry may have more characters."""

MOST_PLACED = 500
"""Of one entry, so many NaN and Infinity are told one by one."""

LARGEST_OBJECT = 1000
"""The document's object has three keys of ours; it may not have more than this."""

_SPACE = re.compile(r"[ \t\n\r]*")
_CONSTANTS = re.compile(r'"(?:[^"\\]++|\\.)*+"|(NaN|-?Infinity)')  # possessive: long texts leave nothing to go back to
_NEAR = 100  # an error so close to the window's end may come from the cut


class JsonError(ValueError):
    """What ends the reading of a file: a code of `problems.FIXES`, the JSON pointer of what was read, what is there."""

    def __init__(self, code: str, pointer: str, found: str, fix: str = "") -> None:
        super().__init__(found)
        self.code, self.pointer, self.found, self.fix = code, pointer, found, fix


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list of the document, or (`index` None) the value of a key that is no list.

    `section` is the key, "" where the document itself is the list. `repeated` are keys that an object of the entry
    has twice, `constants` the places of NaN and Infinity in it, in order, `num_unplaced` how many more there are.
    """

    section: str
    index: int | None
    value: Any
    repeated: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    num_unplaced: int = 0

    @property
    def pointer(self) -> str:
        return _pointer(self.section, self.index)


def _pointer(section: str, index: int | None) -> str:
    """Of a list's entry, or of the value of a key; the document itself has neither."""
    start = _step(section) if section else ""
    return start if index is None else f"{start}/{index}"


LONGEST_STEP = 100
"""Longer keys are cut in pointers: no key of the format is so long, and every problem repeats it."""


@functools.lru_cache(maxsize=64)
def _step(step: str | int) -> str:
    text = str(step)
    text = text if len(text) <= LONGEST_STEP else f"{text[:LONGEST_STEP]}..."
    return "/" + text.replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True, slots=True)
class Opening:
    """A list begins; an empty one has no entries to tell of it."""

    section: str


def pointer(*steps: str | int) -> str:
    """The JSON pointer (RFC 6901) of these steps downwards."""
    return "".join(map(_step, steps))


def read_entries(path: Path, encoding: str = "utf-8") -> Iterator[Opening | Entry]:
    """The entries of the lists that a document's object holds (or of the list it is), in file order.

    Other values of the object come whole. Raises `JsonError` where the text stops being JSON.
    """
    with path.open("rb") as file:
        window = _Window(file, encoding)
        first = window.peek()
        if first == "":
            raise JsonError("json-empty", "", "an empty file")
        if first == "[":
            yield from _list(window, "")
        elif first == "{":
            yield from _object(window)
        else:
            yield window.entry("", None)
        if window.peek():
            raise JsonError("json-syntax", "", f"more text after the end, at {window.place()}")


def _object(window: _Window) -> Iterator[Opening | Entry]:
    seen: set[str] = set()
    for _ in _members(window, "}", ""):
        if window.peek() != '"':
            raise JsonError("json-syntax", "", f"{window.shown()} at {window.place()} where a key in quotes should be")
        key = window.entry("", None).value
        if key in seen:
            raise JsonError("duplicate-key", pointer(key), f"the key {key[:50]!r} again, before {window.place()}")
        seen.add(key)
        if len(seen) > LARGEST_OBJECT:
            raise JsonError("implausible", "", f"more than {LARGEST_OBJECT:,} keys")
        if window.peek() != ":":
            raise JsonError(*window.unexpected("a ':'", pointer(key)))
        window.at += 1
        if window.peek() == "[":
            yield from _list(window, key)
        else:
            yield window.entry(key, None)


def _list(window: _Window, section: str) -> Iterator[Opening | Entry]:
    yield Opening(section)
    for index in _members(window, "]", section):
        yield window.entry(section, index)


def _members(window: _Window, closing: str, section: str) -> Iterator[int]:
    """Stops the window at each member of the list or object it is at, and after its end."""
    window.at += 1
    index = 0
    if window.peek() == closing:
        window.at += 1
        return
    while True:
        yield index
        after = window.peek()
        here = section, index if closing == "]" else None
        if after not in (",", closing):
            raise JsonError(*window.unexpected(f"',' or '{closing}'", _pointer(*here)))
        window.at += 1
        if after == closing:
            return
        if window.peek() == closing:
            found = f"a comma before the '{closing}' at {window.place()}"
            raise JsonError("json-trailing-comma", _pointer(*here), found)
        index += 1


class _Window:
    """The part of the file that is being decoded; `at` is where."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self.file, self.decode = file, codecs.getincrementaldecoder(encoding)().decode
        self.encoding, self.num_bytes = encoding, 0
        self.text, self.at, self.ended = "", 0, False
        self.line, self.column, self.counted = 1, 1, 0  # those of the character `counted`
        self.repeated: list[str] = []
        self.num_constants = 0
        self.decoder = json.JSONDecoder(object_pairs_hook=self._pairs, parse_constant=self._constant)

    def peek(self) -> str:
        """The next character that is not space; "" at the end."""
        while True:
            if self.text[self.at : self.at + 1] <= " ":
                self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # matches always
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._grow(""):
                return ""

    def entry(self, section: str, index: int | None) -> Entry:
        """Decode the value at the window's place."""
        self.peek()
        while True:
            self.repeated, self.num_constants = [], 0
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if self._cut(error) and self._grow(_pointer(section, index)):
                    continue
                raise self._explained(error, _pointer(section, index)) from error
            except RecursionError as error:
                found = f"brackets in brackets, hundreds deep, from {self.place()} on"
                raise JsonError("json-too-deep", _pointer(section, index), found) from error
            except ValueError as error:
                found = f"an integer of thousands of digits, after {self.place()}"
                raise JsonError("json-syntax", _pointer(section, index), found) from error
            if end == len(self.text) and self._grow(_pointer(section, index)):
                continue  # a number may go on
            constants = self._constants(end) if self.num_constants else ()
            self.at = end
            return Entry(section, index, value, tuple(self.repeated), constants, self.num_constants - len(constants))

    def place(self, at: int | None = None) -> str:
        """Line and column, counted from 1, of a position in the window."""
        line, column = self._line_column(self.at if at is None else at)
        return f"line {line}, column {column}"

    def shown(self, at: int | None = None) -> str:
        """What stands there, short."""
        at = self.at if at is None else at
        return repr(self.text[at : at + 20])

    def unexpected(self, wanted: str, where: str) -> tuple[str, str, str]:
        if not self.peek():
            return "json-truncated", where, f"the end of the file at {self.place()}"
        return "json-syntax", where, f"{self.shown()} at {self.place()} where {wanted} should be"

    def _grow(self, where: str) -> bool:
        """Forget what was read and read on; twice as much as is left. False at the end of the file."""
        if self.ended:
            return False
        self._line_column(self.at)
        self.text, self.at, self.counted = self.text[self.at :], 0, 0
        if len(self.text) >= WINDOW:
            _check_density(self.text, where)
        block = self.file.read(max(WINDOW, len(self.text)))
        self.num_bytes += len(block)
        self.ended = not block
        try:
            self.text += self.decode(block, self.ended)
        except UnicodeDecodeError as error:
            place = self.num_bytes - len(error.object) + error.start
            raise JsonError("json-encoding", "", f"byte {place} is not {self.encoding.upper()} text") from error
        return True

    def _line_column(self, at: int) -> tuple[int, int]:
        """Counted on from where it was asked last, which is never behind."""
        newlines = self.text.count("\n", self.counted, at)
        self.line += newlines
        self.column = at - self.text.rfind("\n", self.counted, at) if newlines else self.column + at - self.counted
        self.counted = at
        return self.line, self.column

    def _cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the error may come from the window's end and not from the file."""
        return error.msg.startswith("Unterminated string") or error.pos > len(self.text) - _NEAR

    def _explained(self, error: json.JSONDecodeError, where: str) -> JsonError:
        at = _SPACE.match(self.text, error.pos).end()  # type: ignore[union-attr]
        if at == len(self.text) or error.msg.startswith("Unterminated string"):
            return JsonError("json-truncated", where, f"the end of the file at {self.place(len(self.text))}")
        if self.text[at] in "]}" and self.text[:at].rstrip(" \t\n\r").endswith(","):
            found = f"a comma before the '{self.text[at]}' at {self.place(at)}"
            return JsonError("json-trailing-comma", where, found)
        return JsonError("json-syntax", where, f"{self.shown(at)} at {self.place(at)} ({error.msg})")

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            self.repeated += [name for name, count in counts.items() if count > 1]
        return value

    def _constant(self, name: str) -> float:
        self.num_constants += 1
        return float(name)

    def _constants(self, end: int) -> tuple[str, ...]:
        matches = _CONSTANTS.finditer(self.text, self.at, end)
        found = (self.place(match.start()) for match in matches if match.group(1))
        return tuple(itertools.islice(found, MOST_PLACED))


def _check_density(text: str, where: str) -> None:
    """Refuse an entry whose objects would take more than about nine times its text, or that is beyond all measure."""
    if len(text) >= LARGEST_ENTRY:
        raise JsonError("implausible", where, f"one entry of more than {LARGEST_ENTRY >> 20} million characters")
    sizes = {"[": 64, "{": 72, ",": 40, '"': 12}  # bytes of a list, an object, a number, half a text
    if sum(size * text.count(mark) for mark, size in sizes.items()) > 9 * len(text):
        found = f"one entry of more than {len(text):,} characters, of which brackets, commas and quotes are too many"
        raise JsonError("implausible", where, found)
