"""Commands that look something up or make data: `recipes`, `explain`, `data synthesize`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from posefabric.commands.arguments import Result, write_text
from posefabric.errors import CODES, UserError, unknown_name
from posefabric.recipes import RECIPES, recipe
from posefabric.runs import make_folder, next_output


def recipes(name: Annotated[str | None, typer.Argument(help="One recipe, whole.")] = None) -> Result:
    """The published runs and their figures."""
    if name is None:
        return Result({key: f"{build().summary}; {build().published}".rstrip("; ") for key, build in RECIPES.items()})
    chosen = recipe(name)
    return Result(
        {"summary": chosen.summary, "published": chosen.published, "skeleton": chosen.skeleton.name}
        | {"config": chosen.config.data_form()}
    )


def explain(code: Annotated[str, typer.Argument(help="The code in brackets at the end of an error.")]) -> Result:
    """An error and its cure."""
    if code not in CODES:
        raise unknown_name("error code", code, tuple(CODES))
    entry = CODES[code]
    return Result({"code": code, "meaning": entry.meaning, "cure": entry.cure, "exit_code": entry.exit_code})


def synthesize(
    count: Annotated[int, typer.Option(min=1, help="How many persons, one image each.")],
    skeleton: Annotated[str, typer.Option(help="coco17, mpii16 or lsp14.")] = "coco17",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other people.")] = 0,
    output: Annotated[Path | None, typer.Option(help="The folder to write into.")] = None,
) -> Result:
    """The embedded synthetic people as a COCO keypoint dataset."""
    from posefabric.data.coco import CocoPeople, to_coco
    from posefabric.data.images import write_image
    from posefabric.data.sources import SPLITS
    from posefabric.data.synthetic import SyntheticPeople
    from posefabric.skeletons import named_skeleton

    people = SyntheticPeople(named_skeleton(skeleton), count, len(SPLITS) + seed)  # none of the built-in `synthetic`
    folder = output or next_output("synthesize")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError("not-writable", f"{folder} exists and is not empty", "a new or empty folder")
    make_folder(folder / "images")
    persons = []
    for index in range(count):
        file = folder / "images" / f"{index:06d}.png"
        persons.append(replace(people.record(index), image_path=str(file)))
        write_image(file, people.image(index))
    annotations = to_coco(CocoPeople(people.skeleton, tuple(persons)), folder / "images")
    write_text(folder / "annotations.json", json.dumps(annotations))
    return Result({"persons": count}, folder / "annotations.json")
