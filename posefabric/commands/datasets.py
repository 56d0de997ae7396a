"""The `data` commands: make, look at, check and convert datasets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from posefabric.commands.arguments import Result, write_text
from posefabric.errors import UserError
from posefabric.runs import make_folder, next_output


def synthesize(
    count: Annotated[int, typer.Option(min=1, help="How many persons, one image each.")],
    skeleton: Annotated[str, typer.Option(help="coco17, mpii16 or lsp14.")] = "coco17",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other people.")] = 0,
    output: Annotated[Path | None, typer.Option(help="The folder to write into.")] = None,
) -> Result:
    """The embedded synthetic people as a COCO keypoint dataset."""
    from posefabric.data.coco import people_of, to_coco
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
    paths = {person.image_id: person.image_path for person in persons}
    annotations = to_coco(people_of(people.skeleton, persons, paths), folder / "images")
    write_text(folder / "annotations.json", json.dumps(annotations))
    return Result({"persons": count}, folder / "annotations.json")
