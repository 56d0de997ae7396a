"""What a run folder says, read for a report. Only `run.json` must be there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.errors import UserError
from posefabric.evaluation.diagnosis import Diagnosis
from posefabric.film import Frame, read_film
from posefabric.handmade import Description
from posefabric.runs import Run

T = TypeVar("T")

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
    film: Sequence[Frame] = ()
    supernet: Architecture | None = None


def read_run(folder: Path) -> RunNotes:
    """Read a run folder. A missing `run.json` or a damaged file raises `UserError("bad-run")`."""
    run = Run(folder)
    return RunNotes(
        name=folder.resolve().name,
        about=run.record,
        rows=run.rows(),
        evaluation=run.figures(),
        architecture=_described(run, "architecture.json", run.description),
        pictures=sorted(path for path in folder.glob("pictures/*") if path.suffix.lower() in PICTURE_SUFFIXES),
        diagnosis=_diagnosis(run.path / "diagnosis.json"),
        film=read_film(run),
        supernet=_described(run, "supernet.json", run.architecture),
    )


def _described(run: Run, name: str, read: Callable[[str], T]) -> T | None:
    if not (run.path / name).is_file():
        return None
    try:
        return read(name)
    except UserError as error:
        raise UserError("bad-run", f"{run.path / name} is damaged: {error.finding}") from error


def _diagnosis(path: Path) -> Diagnosis | None:
    return documents.read_json(Diagnosis, path, code="bad-run") if path.is_file() else None
