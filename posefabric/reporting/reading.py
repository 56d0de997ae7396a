"""What a run folder says, read for a report. Only `run.json` must be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posefabric import documents
from posefabric.errors import UserError
from posefabric.evaluation.diagnosis import Diagnosis
from posefabric.handmade import Description
from posefabric.runs import Run

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class RunNotes:
    """The files of one run folder; what a run did not write is None or empty."""

    name: str
    about: dict[str, Any]
    rows: Sequence[dict[str, Any]]
    evaluation: dict[str, Any]
    architecture: Description | None
    pictures: Sequence[Path]
    diagnosis: Diagnosis | None = None


def read_run(folder: Path) -> RunNotes:
    """Read a run folder. A missing `run.json` or a damaged file raises `UserError("bad-run")`."""
    run = Run(folder)
    return RunNotes(
        name=folder.resolve().name,
        about=run.record,
        rows=run.rows(),
        evaluation=run.figures(),
        architecture=_architecture(run),
        pictures=sorted(path for path in folder.glob("pictures/*") if path.suffix.lower() in PICTURE_SUFFIXES),
        diagnosis=_diagnosis(run.path / "diagnosis.json"),
    )


def _architecture(run: Run) -> Description | None:
    if not (run.path / "architecture.json").is_file():
        return None
    try:
        return run.description()
    except UserError as error:
        raise UserError("bad-run", f"{run.path / 'architecture.json'} is damaged: {error.finding}") from error


def _diagnosis(path: Path) -> Diagnosis | None:
    return documents.read_json(Diagnosis, path, code="bad-run") if path.is_file() else None
