"""Reading and writing the JSON and YAML documents of the project: dataclasses in, all errors at once, dataclasses out.

Used by every description (skeleton, architecture, configuration). Pydantic checks types strictly; this module turns
its findings into one `UserError` that names every offending field by its dotted path.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from posefabric.errors import UserError, suggestion

T = TypeVar("T")

DEEPEST = 50
"""No document of ours is nested so deep; what reads YAML breaks down at some thousands."""


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
    return from_json(kind, text, code=code, where=where)


def from_json(kind: type[T], text: str | bytes, *, code: str, where: str) -> T:
    """Check JSON text against a description's type. Raises `UserError(code)` listing every problem."""
    try:
        value: T = _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError(code, f"{where}: {problems(error, kind)}") from error
    return value


def read_json(kind: type[T], path: Path, *, code: str) -> T:
    """Read a JSON file. A missing file raises `UserError("missing-file")`."""
    return from_json(kind, read_text(path, code=code), code=code, where=str(path))


def read_text(path: Path, *, code: str) -> str:
    """The UTF-8 text of a file of the user's."""
    if not path.is_file():
        raise UserError("missing-file", f"{path} does not exist or is not a file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(code, f"{path} is not a text file: {error}", "UTF-8 text") from error


def read_yaml(path: Path, *, code: str) -> Any:
    """The plain data of a YAML file; `1e-3` is a number and a key given twice is an error."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    text = read_text(path, code=code)
    try:
        if _depth(yaml.parse(text)) > DEEPEST:
            raise UserError(code, f"{path} is nested more than {DEEPEST} levels deep", "a YAML mapping")
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except AssertionError as error:  # OmegaConf's answer to a document that is one number
        raise UserError(code, f"{path} holds a single value", "a YAML mapping") from error
    except UserError:
        raise
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise UserError(code, f"{path} is not YAML: {error}", "a YAML mapping") from error


def _depth(events: Iterable[Any]) -> int:
    """How deep the nodes of a YAML text lie in each other, up to `DEEPEST` and one more."""
    depth = deepest = 0
    for event in events:
        depth += hasattr(event, "flow_style") or -type(event).__name__.endswith("EndEvent")
        deepest = max(deepest, depth)
        if deepest > DEEPEST:
            break
    return deepest


def problems(error: ValidationError, kind: Any = None) -> str:
    """Every finding of a validation, each as `dotted.path: what is wrong`, with suggestions for misspelt keys."""
    lines = []
    for finding in error.errors(include_url=False):
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
