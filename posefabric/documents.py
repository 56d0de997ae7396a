"""Reading and writing the JSON and YAML documents of the project: dataclasses in, all errors at once, dataclasses out.

Used by every description (skeleton, architecture, configuration). Pydantic checks types strictly; this module turns
its findings into one `UserError` that names every offending field by its dotted path.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from posefabric.errors import UserError, suggestion
from posefabric.texts import parse_json, read_text

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""How dataclasses that are read are read: unknown keys and numbers that are not finite are errors."""

MOST_TOLD = 20
"""So many problems of a document are told; who has more has another kind of document."""

_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def to_json(value: Any) -> str:
    """JSON text of a description, indented, ending in a newline; equal values give equal text."""
    return _adapter(type(value)).dump_json(value, indent=1).decode() + "\n"


def to_data(value: Any) -> Any:
    """The same as plain lists, dicts and numbers."""
    return _adapter(type(value)).dump_python(value, mode="json")


def from_data(kind: type[T], data: Any, *, code: str, where: str) -> T:
    """Check plain data (as read from YAML) against a description's type. Raises `UserError(code)`."""
    try:
        text = json.dumps(data)
    except (TypeError, ValueError) as error:
        raise UserError(code, f"{where} holds a value that JSON cannot express: {error}") from error
    return _checked(kind, text, code, where)


def from_json(kind: type[T], text: str, *, code: str, where: str) -> T:
    """Check JSON text against a description's type. Raises `UserError(code)` listing every problem."""
    parse_json(text, code=code, where=where)  # what pydantic lets pass: repeated keys, beyond all measure
    return _checked(kind, text, code, where)


def _checked(kind: type[T], text: str, code: str, where: str) -> T:
    try:
        value: T = _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError(code, f"{where}: {problems(error, kind)}") from error
    return value


def check_types(kind: Any, data: Any, *, code: str, where: str) -> None:
    """Check plain data that stay as they are against a type; texts may hold names of files that are no Unicode."""
    try:
        _adapter(kind).validate_python(data)
    except ValidationError as error:
        raise UserError(code, f"{where}: {problems(error, kind)}") from error


def read_json(kind: type[T], path: Path, *, code: str) -> T:
    """Read a JSON file. A missing file raises `UserError("missing-file")`."""
    return from_json(kind, read_text(path, code=code), code=code, where=str(path))


def problems(error: ValidationError, kind: Any = None) -> str:
    """Findings of a validation, each as `dotted.path: what is wrong`, with suggestions for misspelt keys."""
    lines = []
    for finding in error.errors(include_url=False)[:MOST_TOLD]:
        path = finding["loc"]
        if finding["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            known = _field_names(kind, path[:-1])
            lines.append(f"{_dotted(path)}: unknown key{suggestion(str(path[-1]), known)}")
            continue
        cause = finding.get("ctx", {}).get("error")
        message = cause.finding if isinstance(cause, UserError) else str(cause or finding["msg"])
        given = (
            ""
            if isinstance(cause, UserError) or finding["type"] == "missing"
            else f" (given {_short(finding['input'])})"
        )
        lines.append(f"{_dotted(path)}: {message}{given}" if path else f"{message}{given}")
    if error.error_count() > MOST_TOLD:
        lines.append(f"and {error.error_count() - MOST_TOLD:,} more")
    return "\n  ".join(["", *lines]) if len(lines) > 1 else lines[0]


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(step) for step in path)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _field_names(kind: Any, path: Sequence[str | int]) -> list[str]:
    """The keys that the type allows at a path; empty where the path leaves typed ground."""
    schema = _adapter(kind).json_schema()
    node = schema
    for step in path:
        node = _resolve(schema, node)
        node = node.get("properties", {}).get(str(step)) or node.get("additionalProperties") or node.get("items") or {}
    return list(_resolve(schema, node).get("properties", {}))


def _resolve(schema: dict[str, Any], node: Any) -> dict[str, Any]:
    while isinstance(node, dict) and ("$ref" in node or "anyOf" in node or "allOf" in node):
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        else:
            node = next(option for option in node.get("anyOf") or node["allOf"] if option.get("type") != "null")
    return node if isinstance(node, dict) else {}
