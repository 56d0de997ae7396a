"""Commands that use what was found: `predict`, `show`, `profile`, `report`, `doctor`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.commands.arguments import Result, RunFolder, write_text
from posefabric.config import override
from posefabric.errors import BAD_DATA, UserError
from posefabric.handmade import Description, read_description
from posefabric.recipes import RECIPES, recipe
from posefabric.runs import SUPERNET_FILE, make_folder, next_output

if TYPE_CHECKING:
    from posefabric.engine.doctor import Finding


def predict(
    run: RunFolder,
    inputs: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    boxes: Annotated[Path | None, typer.Option(help="JSON: file name -> list of x1, y1, x2, y2.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Keypoints below this score are not drawn; the run's own unless said.")
    ] = None,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Read JPEG files that lack their end marker, too.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="The folder to write into.")] = None,
) -> Result:
    """Find keypoints in images: pictures with skeletons, and `keypoints.json` (COCO results)."""
    from posefabric.data.images import list_images, write_image
    from posefabric.predictor import load

    predictor = load(run)
    if allow_truncated:
        predictor.config = override(predictor.config, ["data.allow_truncated=true"])
    files = list_images(inputs)
    table = _boxes(boxes, files)
    folder = output or next_output("predict")
    pictures = _pictures(files, folder)
    make_folder(folder)
    results = []
    for image_id, (file, picture) in enumerate(zip(files, pictures, strict=True)):
        poses = predictor.predict(file, table.get(file.name))
        write_image(picture, poses.plot(threshold))
        results += [{"file_name": file.name, **result} for result in poses.to_coco(image_id)]
    write_text(folder / "keypoints.json", json.dumps(results))
    note = "" if boxes else "; without boxes, the whole image is the box"
    return Result({"images": len(files), "poses": len(results)}, folder, text=f"{len(files)} images{note}")


def show(
    architecture: Annotated[Path, typer.Argument(help="An architecture file or a run folder.")],
    output: Annotated[Path | None, typer.Option(help="An .svg or .png file.")] = None,
) -> Result:
    """Draw each part's fabric, or the widths of its hand-made head, beside the body."""
    from posefabric.draw import draw_net

    file = output or next_output("show") / "architecture.svg"
    make_folder(file.parent)
    draw_net(read_description(architecture), file)
    return Result(output=file)


def profile(
    target: Annotated[str, typer.Argument(help="A run folder, an architecture file, or a recipe.")],
    input: Annotated[
        str | None, typer.Option("--input", help="HEIGHTxWIDTH; the architecture's own unless said.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure what every choice takes here, for search.latency_table.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Where --calibrate writes the table.")] = None,
) -> Result:
    """Parameters, MACs and latency, part by part."""
    from posefabric.engine.profile import profile_architecture

    input_hw = _size(input) if input else None
    described = _described(target)
    if calibrate:
        return _calibrated(target, described, input_hw, output)
    if output is not None:
        raise UserError("bad-value", "--output without --calibrate", "both; --json prints figures")
    figures = profile_architecture(described, input_hw)
    supernet = Path(target) / SUPERNET_FILE
    if supernet.is_file():
        figures["supernet"] = profile_architecture(read_description(supernet), input_hw)
    return Result(figures)


def _calibrated(target: str, described: Description, input_hw: tuple[int, int] | None, output: Path | None) -> Result:
    """The latency table of a description, or of a search run's whole supernet."""
    from posefabric.engine.calibration import calibrate

    supernet = Path(target) / "supernet.json"
    found = read_description(supernet) if supernet.is_file() else described
    if not isinstance(found, Architecture):
        raise UserError("bad-value", f"{target} is a hand-made net", "a net with fabrics, that has choices")
    table = calibrate(replace(found, input_hw=input_hw) if input_hw else found)
    file = output or next_output("profile") / "latency.json"
    write_text(file, documents.to_json(table))
    figures = {"entries": len(table.nanoseconds), "device": table.device, "threads": table.threads}
    return Result(figures, file)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    output: Annotated[Path | None, typer.Option(help="The HTML file.")] = None,
) -> Result:
    """One self-contained HTML page about one or several runs; searches that differ in their seed are compared."""
    from posefabric.reporting import write_report

    file = output or runs[-1] / "report.html"
    if len(runs) == 1:
        return Result(output=write_report(runs, file))
    from posefabric.engine.seeds import figures, in_words, seed_groups

    groups = seed_groups(runs)
    found = {"seeds": figures(groups)} if groups else {}
    return Result(found, write_report(runs, file, groups), lines=in_words(groups))


def doctor(
    run: Annotated[Path | None, typer.Argument(help="A run folder; without one, this machine.")] = None,
) -> Result:
    """What works here; or whether a run is sound: hashes, finite weights, leftovers, figures, parity."""
    from posefabric.engine.doctor import examine, machine

    findings = examine(run) if run else machine()
    lines = [f"{'ok ' if finding.well else 'BAD'}  {finding.file}: {_told(finding)}" for finding in findings]
    unwell = run is not None and not all(finding.well for finding in findings)
    return Result(items=[finding.form() for finding in findings], lines=lines, exit_code=BAD_DATA if unwell else 0)


def _told(finding: Finding) -> str:
    return f"{finding.found}; to do: {finding.todo}" if finding.todo else finding.found


def _pictures(files: list[Path], folder: Path) -> list[Path]:
    """Where each image's picture goes; never over an image that is read, nor two to one place."""
    pictures = [folder / f"{file.stem}.jpg" for file in files]
    taken = {file.resolve() for file in files}
    for picture in pictures:
        if picture.resolve() in taken:
            raise UserError(
                "bad-value", f"{picture} would be written over another image", "another --output, or other file names"
            )
        taken.add(picture.resolve())
    return pictures


def _described(target: str) -> Description:
    return recipe(target).architecture() if target in RECIPES else read_description(target)


def _boxes(file: Path | None, images: list[Path]) -> dict[str, list[tuple[float, float, float, float]]]:
    """Image name -> boxes; every image must have an entry, and every box an area."""
    if file is None:
        return {}
    table = documents.read_json(dict[str, list[tuple[float, float, float, float]]], file, code="bad-dataset")
    names = {image.name for image in images}
    if names != set(table):
        found = f"{file} is for {', '.join(sorted(set(table) ^ names))} alone, or lacks them"
        raise UserError("bad-dataset", found, f"exactly the images {', '.join(sorted(names))}")
    for name, boxes in table.items():
        for x1, y1, x2, y2 in boxes:
            if x2 <= x1 or y2 <= y1:
                raise UserError("bad-dataset", f"{file}: {name} has the box {[x1, y1, x2, y2]}", "x1 < x2 and y1 < y2")
    return table


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.partition("x")
    if not (cross and height.isdigit() and width.isdigit()):
        raise UserError("bad-value", f"--input {text}", "HEIGHTxWIDTH, such as 256x192")
    size = int(height), int(width)
    if any(side < 32 or side % 32 for side in size):
        raise UserError("bad-value", f"--input {text}", "multiples of 32")
    return size
