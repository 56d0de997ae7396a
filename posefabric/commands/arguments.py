"""What commands share: their result, their common options, and how these become settings and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posefabric.config import Config, override, read_config
from posefabric.errors import UserError
from posefabric.handmade import Description
from posefabric.recipes import recipe
from posefabric.runs import Run, make_folder, write_atomic

if TYPE_CHECKING:
    from posefabric.data.records import People
    from posefabric.data.sources import Where


@dataclass(frozen=True)
class Result:
    """What a command found, and the path it left (printed last).

    `lines` are for people and stand in the place of figures. A command that looks for something has `items` (what
    `--json` prints, a list) instead of figures. `exit_code` is how the command line ends.
    """

    figures: Mapping[str, Any] = field(default_factory=dict)
    output: Path | None = None
    text: str = ""
    items: Sequence[Mapping[str, Any]] | None = None
    lines: Sequence[str] = ()
    exit_code: int = 0


Data = Annotated[str, typer.Argument(help="A dataset YAML, a COCO keypoint JSON, or 'synthetic'.")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.")]
Recipe = Annotated[str, typer.Option("--recipe", help="A published run, or 'smoke'; see `posefabric recipes`.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A YAML file of keys that differ from the recipe.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="a.b=v, any key of the configuration.")]
Images = Annotated[Path | None, typer.Option("--images", help="The folder of the images of a COCO JSON.")]
Category = Annotated[str | None, typer.Option("--category", help="Which category of a file that has several.")]
Output = Annotated[Path | None, typer.Option("--output", help="Where to write; the same again resumes a run.")]


def read_settings(recipe_name: str, file: Path | None, assignments: list[str]) -> Config:
    """A recipe, changed by a YAML file, changed by `a.b=v` assignments."""
    base = recipe(recipe_name).config
    return override(read_config(file, base) if file else base, assignments)


def open_split(data: str, split: str, settings: Config, where: Where) -> People:
    """One split of DATA; an empty one is an error."""
    from posefabric.data.sources import open_people

    people = open_people(data, split, settings.data, where)
    if len(people) == 0:
        raise UserError(
            "bad-dataset",
            f"{data} has no persons in its split '{split}'",
            "one at least; a dataset YAML names a file per split",
        )
    return people


def note_place(run: Run, data: str, where: Where) -> None:
    """Remember where a run's data are, for commands that come back to them."""
    from posefabric.data.sources import SYNTHETIC

    place = data if data == SYNTHETIC else str(Path(data).resolve())
    run.note(place={"data": place, "images": where.images and str(where.images.resolve()), "category": where.category})


def reopen(run: Run, settings: Config, data: str | None, images: Path | None) -> tuple[People, People]:
    """The persons (train, val) a run learned from, where its data were, or where they are said to be now.

    Data that are gone, have changed or lack image files raise `UserError`.
    """
    from posefabric.data.sources import Where, describe, require_images

    place = run.record.get("place", {})
    data = data or place.get("data")
    if data is None:
        raise UserError("bad-run", f"{run.path} does not say where its data are", todo="Name them: --data DATA.")
    kept = place.get("images")
    where = Where(images or (Path(kept) if kept else None), run.record["data"].get("category"))
    try:
        found = describe(data, where)
        people = open_split(data, "train", settings, where), open_split(data, "val", settings, where)
        require_images(*people)
    except UserError as error:
        todo = "Say where the data are now: --data DATA, and --images DIR for the images of a COCO JSON."
        raise UserError(error.code, f"the data of {run.path}: {error.given}", error.allowed, todo) from error
    if found.get("sha256") != run.record["data"].get("sha256", found.get("sha256")):  # an imported net has no data
        raise UserError("bad-dataset", f"{data} is not what {run.path} was searched on", "the same annotations")
    return people


def check_skeletons(described: Description, keypoints: tuple[str, ...], data: str) -> None:
    """A net and a dataset must have the same keypoints in the same order."""
    if described.skeleton.keypoints != keypoints:
        ours = f"{described.skeleton.name}: {', '.join(described.skeleton.keypoints)}"
        raise UserError("bad-dataset", f"{data} has the keypoints {', '.join(keypoints)}", f"those of the net, {ours}")


def headline(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures people look at first; the rest is in `evaluation.json`."""
    keys = ("boxes", "AP", "AR", "PCKh@0.5", "PCK@0.2", "PCK@0.2/box", "parameters", "macs")
    return {key: figures[key] for key in keys if key in figures}


def write_text(path: Path, text: str) -> None:
    """Write a file whole, making its folder."""
    make_folder(path.parent)
    write_atomic(path, text)
