"""Commands about experiments: `experiment run`, `work`, `table`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posefabric.commands.arguments import Result
from posefabric.errors import UserError
from posefabric.runs import make_folder, read_record, to_text, write_atomic

if TYPE_CHECKING:
    from posefabric.experiments.spec import Spec

RECORD = "experiment.json"
"""What marks an output folder as that of an experiment."""

SpecFile = Annotated[Path, typer.Argument(help="The specification, a YAML file (docs/experiments.md).")]
Folder = Annotated[
    Path | None, typer.Option("--output", help="The experiment's folder; runs/experiment-NAME unless said.")
]


def run(
    spec: SpecFile,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="What failed by itself is tried again.")] = False,
    output: Folder = None,
) -> Result:
    """Search, train and compare arms under one recipe; the same again goes on where it stopped."""
    described, folder = _open(spec, output)
    from posefabric.experiments.study import Study
    from posefabric.experiments.worker import Worker

    study = Study(described, folder)
    make_folder(folder)
    write_atomic(folder / RECORD, to_text(described.data_form()))
    if retry_failed:
        study.retry_failed()
    Worker(described, study).work()
    return _table(described, folder)


def work(spec: SpecFile, output: Folder = None) -> Result:
    """Join an experiment that `experiment run` has begun, from any process or machine that sees its folder."""
    described, folder = _open(spec, output)
    _require_begun(described, folder)
    from posefabric.experiments.study import Study
    from posefabric.experiments.worker import Worker

    Worker(described, Study(described, folder)).work()
    return _table(described, folder)


def table(spec: SpecFile, output: Folder = None) -> Result:
    """What an experiment shows so far, with statistics, and what it lacks; `experiment.html` beside it."""
    described, folder = _open(spec, output)
    _require_begun(described, folder)
    return _table(described, folder)


def _open(file: Path, output: Path | None) -> tuple[Spec, Path]:
    if importlib.util.find_spec("optuna") is None:
        raise UserError("missing-package", "experiments need optuna", todo="pip install 'posefabric[sweep]'")
    from posefabric.experiments.spec import read_spec

    spec = read_spec(file)
    return spec, output or Path("runs") / f"experiment-{spec.name}"


def _require_begun(spec: Spec, folder: Path) -> None:
    record = read_record(folder / RECORD) if (folder / RECORD).is_file() else {}
    if record.get("name") != spec.name:
        found = f"{folder} holds no experiment '{spec.name}'"
        raise UserError(
            "bad-run", found, "the folder that `experiment run` works in", "Begin it, or name its --output."
        )


def _table(spec: Spec, folder: Path) -> Result:
    from posefabric import documents
    from posefabric.experiments.page import as_page, as_text
    from posefabric.experiments.results import gather
    from posefabric.experiments.study import Study
    from posefabric.experiments.table import tabulate

    found = tabulate(gather(spec, Study(spec, folder).progress(), folder))
    page = folder / "experiment.html"
    write_atomic(page, as_page(found))
    return Result(documents.to_data(found), page, lines=as_text(found))
