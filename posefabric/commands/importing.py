"""The command that reads nets of others: `import-weights`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posefabric.commands.arguments import Output, Result
from posefabric.config import Config, override
from posefabric.errors import UserError
from posefabric.runs import next_output

if TYPE_CHECKING:
    from posefabric.released.reading import Imported


def import_weights(
    file: Annotated[Path, typer.Argument(help="A checkpoint of the authors' code, or safetensors of the same names.")],
    recipe: Annotated[
        str | None, typer.Option(help="The recipe of the paper that it is of; see `posefabric recipes`.")
    ] = None,
    case: Annotated[Path | None, typer.Option(help="Or its configuration, case.json.")] = None,
    commit: Annotated[str | None, typer.Option(help="The commit it was released with, to be recorded.")] = None,
    output: Output = None,
) -> Result:
    """A checkpoint of the paper's authors into a run folder, saying what became of every tensor."""
    from posefabric.released.keeping import TENSORS_FILE, keep, origin, told

    if (recipe is None) == (case is None):
        raise UserError(
            "bad-value", f"{file} by {'a recipe and a case' if recipe else 'nothing'}", "--recipe or --case"
        )
    imported, settings = _read(file, recipe, case)
    described = {"case_sha256": hashlib.sha256(case.read_bytes()).hexdigest()} if case else {"recipe": str(recipe)}
    found = origin(file, commit, described)
    folder = output or next_output("import-weights")
    keep(folder, settings, imported, found)
    lines = [*imported.ledger.lines(), f"every tensor by name: {folder / TENSORS_FILE}", *told(found)]
    return Result({**imported.ledger.figures(), "origin": found}, folder, lines=lines)


def _read(file: Path, recipe: str | None, case: Path | None) -> tuple[Imported, Config]:
    """The net, and the configuration it is used by."""
    from posefabric.foreign import read_foreign
    from posefabric.released.case import import_case, read_case
    from posefabric.released.recipe import check_recipe, import_recipe

    if case is not None:
        described = read_case(case)
        settings = override(Config(), ["backbone.name=fabric", "backbone.pretrained=false"])
        return import_case(described, read_foreign(file)), settings
    assert recipe is not None
    check_recipe(recipe)
    return import_recipe(recipe, read_foreign(file))
