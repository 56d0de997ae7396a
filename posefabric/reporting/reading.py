"""What a run folder says, read for a report. Only `run.json` must be there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posefabric.architecture import Architecture, read_architecture
from posefabric.documents import read_text
from posefabric.errors import UserError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class RunNotes:
    """The files of one run folder; what a run did not write is None or empty."""

    name: str
    about: dict[str, Any]
    rows: Sequence[dict[str, Any]]
    evaluation: dict[str, Any]
    architecture: Architecture | None
    pictures: Sequence[Path]


def read_run(folder: Path) -> RunNotes:
    """Read a run folder. A missing `run.json` or a damaged file raises `UserError("bad-run")`."""
    if not (folder / "run.json").is_file():
        raise UserError("bad-run", f"{folder} has no run.json")
    architecture = folder / "architecture.json"
    return RunNotes(
        name=folder.resolve().name,
        about=_mapping(folder / "run.json"),
        rows=_rows(folder / "metrics.jsonl"),
        evaluation=_mapping(folder / "evaluation.json") if (folder / "evaluation.json").is_file() else {},
        architecture=_architecture(architecture) if architecture.is_file() else None,
        pictures=sorted(path for path in folder.glob("pictures/*") if path.suffix.lower() in PICTURE_SUFFIXES),
    )


def _architecture(path: Path) -> Architecture:
    try:
        return read_architecture(path)
    except UserError as error:
        raise UserError("bad-run", f"{path} is damaged: {error.finding}") from error


def _mapping(path: Path) -> dict[str, Any]:
    return _parsed(read_text(path, code="bad-run"), str(path))


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = read_text(path, code="bad-run").splitlines()
    return [_parsed(line, f"{path}, line {i + 1},") for i, line in enumerate(lines) if line.strip()]


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError("bad-run", f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError("bad-run", f"{where} holds a {type(value).__name__}", "a JSON object")
    return value
