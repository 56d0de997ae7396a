"""Commands that look something up: `recipes`, `explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from posefabric.commands.arguments import Result
from posefabric.errors import CODES, unknown_name
from posefabric.recipes import RECIPES, recipe


def recipes(name: Annotated[str | None, typer.Argument(help="One recipe, whole.")] = None) -> Result:
    """The published runs and their figures."""
    if name is None:
        return Result({key: f"{build().summary}; {build().published}".rstrip("; ") for key, build in RECIPES.items()})
    chosen = recipe(name)
    return Result(
        {"summary": chosen.summary, "published": chosen.published, "skeleton": chosen.skeleton.name}
        | {"config": chosen.config.data_form(), "sources": chosen.sources}
    )


def explain(code: Annotated[str, typer.Argument(help="The code in brackets at the end of an error.")]) -> Result:
    """An error and its cure."""
    if code not in CODES:
        raise unknown_name("error code", code, tuple(CODES))
    entry = CODES[code]
    return Result({"code": code, "meaning": entry.meaning, "cure": entry.cure, "exit_code": entry.exit_code})
