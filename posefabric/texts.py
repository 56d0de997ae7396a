"""JSON and YAML of strangers become plain data here, within limits: dicts with text keys, lists, texts, numbers.

Stands below every reader of documents. A file is read only if it is a regular one, and never waited for. No text can
run code, refer to anything outside or to another place of itself, or mean one thing here and another elsewhere: tags,
references, keys given twice and ambiguous scalars are errors. `docs/files.md` tells people what is read and what not.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from posefabric.errors import UserError

LARGEST, LARGEST_YAML = 32 * 2**20, 2**20
"""Bytes of a JSON and of a YAML document."""

LARGEST_LOG = 2**30
"""Bytes of a JSONL file: those of a year's steps."""

MOST_NODES, MOST_YAML_NODES = 500_000, 20_000
"""Values that they may hold; the state of a large search has a tenth of it."""

DEEPEST = 50
"""How deep they may lie in each other; no document of ours has a third of it."""

LONGEST = 4096
"""Characters of one text; longer ones are neither names nor paths."""


_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.ENAMETOOLONG}


def open_regular(path: Path) -> io.FileIO:
    """A regular file, open to read; pipes, devices and folders raise `OSError` at once."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return io.FileIO(descriptor, "rb")


def open_file(path: Path, *, code: str) -> io.FileIO:
    """The same for people: raises `UserError("missing-file")`, or `UserError(code)` for what cannot be read."""
    try:
        return open_regular(path)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise UserError("missing-file", f"{path} does not exist or is not a file") from error
        raise UserError(code, f"{path} cannot be read: {error.strerror}", "a file that can be read") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a regular file of any size. Raises `OSError`."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: Path, *, code: str, most: int = LARGEST) -> str:
    """The UTF-8 text of a file of the user's, of at most so many bytes."""
    with open_file(path, code=code) as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > most else file.read(most + 1)
    if max(size, len(content)) > most:
        raise UserError(code, f"{path} has {size:,} bytes", f"at most {most:,}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(code, f"{path} is not a text file: {error.reason} at byte {error.start}", "UTF-8") from error


def parse_json(text: str, *, code: str, where: str) -> Any:
    """The plain data of a JSON text. Raises `UserError(code)`."""
    if sum(map(text.count, ",[{")) > MOST_NODES:
        raise _too_many(MOST_NODES, code, where)
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except _RepeatedKeyError as error:
        found = f"{where} has the key {error.args[0]!r:.100} twice in one object"
        raise UserError(code, found, "each key once") from None
    except RecursionError as error:
        raise _too_deep(code, where) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UserError(code, f"{where} is not JSON: {error.msg} at {place}", "a JSON document") from error
    except ValueError as error:
        raise UserError(code, f"{where} holds an integer of thousands of digits", "a number") from error
    _check_measure(value, code, where)
    return value


class _RepeatedKeyError(Exception):
    """A JSON object has a key twice; it is the argument."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise _RepeatedKeyError(name)
    return value


def read_yaml(path: Path, *, code: str) -> Any:
    """The plain data of a YAML file."""
    return parse_yaml(read_text(path, code=code, most=LARGEST_YAML), code=code, where=str(path))


def parse_yaml(text: str, *, code: str, where: str) -> Any:
    """The plain data of a YAML 1.2 document; an empty one is an empty mapping. Raises `UserError(code)`."""
    import yaml

    try:
        value = _Composer(code, where).compose(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        place = f" at {_place(error.problem_mark)}" if error.problem_mark else ""
        raise UserError(code, f"{where} is not YAML: {error.problem}{place}", "a YAML mapping") from error
    except yaml.YAMLError as error:
        found = str(error).splitlines()[0]
        raise UserError(code, f"{where} is not YAML: {found}", "a YAML mapping") from error
    _check_measure(value, code, where)
    return value


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


_DECIMAL = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_PLAIN: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"~|null|Null|NULL|"), lambda text: None),
    (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text.lower() == "true"),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)"), int),
    (re.compile(r"(?![-+]?0[0-9]+$)" + _DECIMAL), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)
"""The scalars of YAML 1.2's core schema that are no text, and what they are."""

_AMBIGUOUS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i:yes|no|on|off)"), "true or false"),
    (re.compile(r"[-+]?0([0-9_]+|[xob][0-9a-fA-F_]+)"), "a decimal number without leading zeros"),
    (re.compile(r"[-+]?[0-9]+(_[0-9_]*)+(\.[0-9_]*)?"), "a number without underscores"),
    (re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?"), "a decimal number"),
)
"""What YAML 1.1 reads otherwise than 1.2 does: one of the two would surprise somebody."""


class _Composer:
    """Builds the data of a document from the events of its text."""

    def __init__(self, code: str, where: str) -> None:
        self.code, self.where = code, where
        self.open: list[Any] = []
        self.keys: list[str | None] = []
        self.root: Any = None

    def compose(self, events: Iterable[Any]) -> Any:
        nodes = documents = 0
        for event in events:
            kind = type(event).__name__.removesuffix("Event")
            documents += kind == "DocumentStart"
            nodes += kind in ("Scalar", "MappingStart", "SequenceStart")
            if nodes > MOST_YAML_NODES:
                raise _too_many(MOST_YAML_NODES, self.code, self.where)
            if kind == "Alias":
                raise self._bad(event, f"refers to another place (*{event.anchor})", "everything written out")
            if getattr(event, "tag", None) is not None:
                raise self._bad(event, f"has the tag {event.tag}", "values without tags")
            if documents > 1:
                raise self._bad(event, "begins another document", "one document")
            self._take(kind, event)
        return {} if documents == 0 else self.root

    def _take(self, kind: str, event: Any) -> None:
        if kind == "Scalar":
            self._add(event, None)
        elif kind in ("MappingStart", "SequenceStart"):
            container: Any = {} if kind == "MappingStart" else []
            self._add(event, container)
            self.open.append(container)
            self.keys.append(None)
            if len(self.open) > DEEPEST:
                raise _too_deep(self.code, self.where)
        elif kind in ("MappingEnd", "SequenceEnd"):
            self.open.pop()
            self.keys.pop()

    def _add(self, event: Any, container: Any) -> None:
        """Put a scalar, or a container that begins, where it belongs."""
        holder = self.open[-1] if self.open else None
        if isinstance(holder, dict) and self.keys[-1] is None:
            self.keys[-1] = self._key(event, container, holder)
            return
        value = self._scalar(event) if container is None else container
        if isinstance(holder, dict):
            holder[self.keys[-1]], self.keys[-1] = value, None
        elif isinstance(holder, list):
            holder.append(value)
        else:
            self.root = value

    def _key(self, event: Any, container: Any, holder: dict[str, Any]) -> str:
        if container is not None:
            raise self._bad(event, f"has a {'mapping' if container == {} else 'list'} as a key", "text")
        key: str = event.value
        if key == "<<" and not event.style:
            raise self._bad(event, "merges another mapping (<<)", "everything written out")
        if key in holder:
            raise self._bad(event, f"has the key '{key:.100}' twice", "each key once")
        return key

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.style:
            return text
        for pattern, read in _PLAIN:
            if pattern.fullmatch(text):
                try:
                    return read(text)
                except ValueError as error:
                    raise self._bad(event, "has an integer of thousands of digits", "a number") from error
        for pattern, clear in _AMBIGUOUS:
            if pattern.fullmatch(text):
                found = f"has '{text:.100}', which programs read differently"
                raise self._bad(event, found, f"{clear}, or '{text:.100}' in quotes if it is a text")
        return text

    def _bad(self, event: Any, found: str, allowed: str) -> UserError:
        return UserError(self.code, f"{self.where} {found}, {_place(event.start_mark)}", allowed)


def _check_measure(value: Any, code: str, where: str) -> None:
    """Refuse data that lie too deep in each other, and texts too long; level by level."""
    level = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                below += node.keys()
                below += node.values()
            elif isinstance(node, list):
                below += node
            elif isinstance(node, str) and len(node) > LONGEST:
                raise UserError(code, f"{where} holds a text of {len(node):,} characters", f"at most {LONGEST:,}")
        level = below
    if level:
        raise _too_deep(code, where)


def _too_many(most: int, code: str, where: str) -> UserError:
    return UserError(code, f"{where} holds more than {most:,} values", "a smaller document")


def _too_deep(code: str, where: str) -> UserError:
    return UserError(code, f"{where} is nested more than {DEEPEST} levels deep", "a flatter document")
