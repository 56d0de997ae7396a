"""The `data` commands: make, look at, check and convert datasets."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from posefabric.commands.arguments import (
    Assignments,
    Category,
    Data,
    Images,
    Recipe,
    Result,
    open_split,
    read_settings,
    write_text,
)
from posefabric.errors import BAD_DATA, UserError, unknown_name
from posefabric.runs import make_folder, next_output

logger = logging.getLogger(__name__)

SHOWN_SYNTHETIC = 500
"""How many of the synthetic people `view` renders, unless --set says otherwise."""


def check(
    annotations: Annotated[Path, typer.Argument(help="A COCO keypoint JSON, or a dataset YAML.")],
    images: Images = None,
    category: Category = None,
    max_json: Annotated[str, typer.Option(help="Refuse larger annotation files: 300M, 2G.")] = "1G",
) -> Result:
    """Everything that is wrong in annotation files and their images: file, place, ids, found, expected, what to do."""
    from posefabric.data.annotations.problems import SHOWN
    from posefabric.data.check import Request, size_in_bytes
    from posefabric.data.check import check as check_dataset

    found = check_dataset(annotations, Request(images, category, max_bytes=size_in_bytes(max_json)))
    for findings in found:
        for line in findings.noted():
            logger.info("note: %s: %s", findings.file, line)
    problems = [problem.as_dict() for findings in found for problem in findings.problems]
    return Result(
        items=problems,
        lines=[line for findings in found for line in findings.lines(SHOWN)],
        exit_code=BAD_DATA if problems else 0,
    )


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


def init(
    annotations: Annotated[Path, typer.Argument(help="A COCO keypoint JSON.")],
    images: Images = None,
    val: Annotated[Path | None, typer.Option(help="The file for validation; else the one file is split.")] = None,
    category: Category = None,
    parts: Annotated[list[str] | None, typer.Option(help="graph, learned or random; may be repeated.")] = None,
    num_parts: Annotated[list[int] | None, typer.Option(min=1, help="How many parts: 3 and 5 unless said.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other random parts.")] = 0,
    output: Annotated[Path, typer.Option(help="The file to write; an existing one stays.")] = Path("dataset.yaml"),
) -> Result:
    """A short dataset YAML from a keypoint file: what it does not say is guessed, marked and yours to confirm."""
    from posefabric.data.guesses import description

    if output.exists():
        raise UserError(
            "not-writable", f"{output} exists", "a new file: nothing is overwritten", "give another --output"
        )
    files = description.Files(annotations, val, images, category)
    found = description.describe(files, parts or ("graph", "learned"), num_parts or (3, 5), seed)
    for line in description.doubts(found):
        logger.warning("%s", line)
    write_text(output, description.yaml_text(found, files, output.parent))
    return Result(description.figures(found), output)


def view(
    data: Data,
    images: Images = None,
    category: Category = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "train",
    count: Annotated[int, typer.Option(min=1, help="How many persons are shown.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other persons.")] = 0,
    recipe: Recipe = "base",
    set: Assignments = None,
    skip_check: Annotated[bool, typer.Option("--skip-check", help="Do not open every image to check it.")] = False,
    output: Annotated[Path, typer.Option(help="The HTML file.")] = Path("view.html"),
) -> Result:
    """One HTML page about a dataset: problems, persons, augmentation, keypoints, boxes, left and right, parts."""
    from posefabric.data.check import Request
    from posefabric.data.check import check as check_dataset
    from posefabric.data.sources import SYNTHETIC, Where
    from posefabric.reporting.dataset import DatasetView, write_dataset_page, write_problems_page

    if output.suffix not in (".html", ".htm"):
        raise UserError("bad-value", f"--output {output}", "the name of a page, ending in .html")
    few = [f"data.synthetic_train={SHOWN_SYNTHETIC}", f"data.synthetic_val={SHOWN_SYNTHETIC}"]
    settings = read_settings(recipe, None, [*(few if data == SYNTHETIC else []), *(set or [])])
    skipped = skip_check or data == SYNTHETIC
    findings = None if skipped else check_dataset(Path(data), Request(images, category))
    problems = sum(found.counts.total() for found in findings or ())
    try:
        people = open_split(data, split, settings, Where(images, category))
    except UserError as error:
        if not problems or findings is None or error.code not in ("bad-annotation", "bad-skeleton"):
            raise
        return Result(
            {"problems": problems}, write_problems_page(Path(data).name, findings, output), exit_code=BAD_DATA
        )
    shown = DatasetView(Path(data).name, split, people, settings.data, settings.model.input_hw, findings, count, seed)
    return Result({"persons": len(people), "problems": problems}, write_dataset_page(shown, output))


def import_(
    format: Annotated[str, typer.Argument(help="mpii, lsp or coco.")],
    source: Annotated[Path, typer.Argument(help="The folder or annotation file of that format; it is only read.")],
    images: Annotated[Path | None, typer.Option(help="The folder of its images.")] = None,
    validation: Annotated[
        Path | None, typer.Option(help="MPII: valid.json, which names the validation persons.")
    ] = None,
    heads: Annotated[Path | None, typer.Option(help="MPII: gt_valid.mat, what PCKh measures against.")] = None,
    output: Annotated[Path | None, typer.Option(help="The folder to write into.")] = None,
) -> Result:
    """Another format as COCO keypoint JSON and a dataset YAML; images stay where they are."""
    from posefabric.data.imports.formats import FORMATS, Request
    from posefabric.evaluation.mpii import read_mpii_truth

    if format not in FORMATS:
        raise unknown_name("format", format, tuple(FORMATS))
    if (validation or heads) and format != "mpii":
        raise UserError("bad-value", f"--validation or --heads with the format {format}", "these with mpii")
    truth = read_mpii_truth(heads) if heads else None
    imported = FORMATS[format](Request(source, output or next_output("import"), images, validation, truth))
    return Result(imported.counts, imported.yaml)


def download(
    dataset: Annotated[str, typer.Argument(help="coco or mpii.")],
    only: Annotated[
        list[str] | None, typer.Option(help="coco: annotations, val, train, test; mpii: annotations, images.")
    ] = None,
    mirror: Annotated[str | None, typer.Option(help="The address of a folder with the same archives.")] = None,
    output: Annotated[Path | None, typer.Option(help="The folder; the same again goes on where it stopped.")] = None,
) -> Result:
    """Fetch COCO 2017 or MPII from their authors and unpack them; continues what was cut off."""
    from posefabric.data.downloads import download as downloads

    folder = output or Path(dataset)
    names = downloads.download(dataset, folder, only or (), mirror)
    return Result({"archives": names}, folder, text=f"next: posefabric data import {dataset} {folder}")
