"""What people call: one function per command, the same for `posefabric NAME` and `posefabric.NAME(...)`.

Each returns a `Result`: the figures it found (printed as a table, or as JSON with `--json`) and what it wrote. torch is
imported only inside the commands that need it, so that `--help` is quick.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posefabric import documents
from posefabric.config import Config, override, read_config
from posefabric.errors import CODES, UserError, unknown_name
from posefabric.recipes import RECIPES, recipe

if TYPE_CHECKING:
    from posefabric.architecture import Architecture
    from posefabric.data.records import People


@dataclass(frozen=True)
class Result:
    """What a command found, and the path it left (printed last)."""

    figures: Mapping[str, Any] = field(default_factory=dict)
    output: Path | None = None
    text: str = ""


Data = Annotated[str, typer.Argument(help="A dataset YAML, a COCO keypoint JSON, or 'synthetic'.")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.")]
Recipe = Annotated[str, typer.Option("--recipe", help="A published run, or 'smoke'; see `posefabric recipes`.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A YAML file of keys that differ from the recipe.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="a.b=v, any key of the configuration.")]
Images = Annotated[Path | None, typer.Option("--images", help="The folder of the images of a COCO JSON.")]
Output = Annotated[Path | None, typer.Option("--output", help="Where to write; the same again resumes a run.")]


def search(
    data: Data,
    recipe: Recipe = "smoke",
    strategy: Annotated[str | None, typer.Option(help="sync, first-order, uniform or random.")] = None,
    parts: Annotated[str | None, typer.Option(help="The partition of the body: 1, 3, 5, 8 or your own.")] = None,
    config: ConfigFile = None,
    set: Assignments = None,
    images: Images = None,
    output: Output = None,
) -> Result:
    """Search an architecture: a run folder that ends in the derived net and its inherited weights."""
    from posefabric.data.sources import describe
    from posefabric.engine.search import search as run_search
    from posefabric.runs import Run, next_output

    flags = [f"search.strategy={strategy}"] * (strategy is not None) + [f"model.parts={parts}"] * (parts is not None)
    settings = _config(recipe, config, [*flags, *(set or [])])
    train_people, val_people = (_people(data, split, settings, images) for split in ("train", "val"))
    supernet = settings.model.supernet(train_people.skeleton, settings.backbone.describe())
    folder = output or next_output("search")
    run = Run.start(folder, "search", settings.data_form(), describe(data, settings.data))
    if not run.finished:
        run_search(run, settings, supernet, train_people, val_people)
    return Result(_headline(run.figures()), folder)


def derive(
    run: RunFolder,
    method: Annotated[str, typer.Option(help="threshold or argmax.")] = "argmax",
    set: Assignments = None,
    output: Output = None,
) -> Result:
    """Derive another architecture from the same search."""
    from posefabric.engine.search import SUPERNET_FILE
    from posefabric.models.cost import count
    from posefabric.runs import Run
    from posefabric.strategies.derive import derive as derive_architecture

    opened = Run(run)
    settings = override(opened.config, set or []).search
    derived = derive_architecture(opened.architecture(SUPERNET_FILE), method, settings)
    opened.save_architecture(derived, f"architectures/{method}.json")
    opened.save_architecture(derived)
    if output is not None:
        _write(output, documents.to_json(derived))
    return Result({"macs": count(derived).macs}, output or run / "architecture.json")


def train(
    data: Data,
    architecture: Annotated[Path, typer.Option(help="An architecture file or a run folder.")],
    weights: Annotated[Path | None, typer.Option(help="A run folder whose weights are inherited.")] = None,
    recipe: Recipe = "smoke",
    config: ConfigFile = None,
    set: Assignments = None,
    images: Images = None,
    output: Output = None,
) -> Result:
    """Train an architecture, from scratch or from a search's weights."""
    from posefabric.architecture import read_architecture
    from posefabric.checkpoints import load_tensors
    from posefabric.data.sources import describe
    from posefabric.engine.train import build_net
    from posefabric.engine.train import train as run_train
    from posefabric.runs import Run, next_output

    settings = _config(recipe, config, set or [])
    described = read_architecture(architecture)
    people = _people(data, "train", settings, images), _people(data, "val", settings, images)
    _check_skeletons(described, people[0].skeleton.keypoints, data)
    inherited = load_tensors(weights / "weights.safetensors") if weights else None
    folder = output or next_output("train")
    source = {"architecture": documents.to_data(described), "weights": weights and str(weights)}
    run = Run.start(folder, "train", settings.data_form(), describe(data, settings.data) | source)
    if not run.finished:
        run_train(run, settings, build_net(described, settings, inherited), people)
    return Result(_headline(run.figures()), folder)


def evaluate(
    run: RunFolder,
    data: Data,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    flip_test: Annotated[bool, typer.Option("--flip-test", help="Average with the mirrored crop.")] = False,
    images: Images = None,
    output: Annotated[Path | None, typer.Option(help="Write COCO results (keypoints.json) here.")] = None,
) -> Result:
    """Measure a trained net on people, cut out by their ground-truth boxes."""
    from posefabric.engine.evaluate import figures, predict_people
    from posefabric.evaluation.predictions import to_coco_results
    from posefabric.predictor import load

    predictor = load(run)
    settings = override(predictor.config, [f"evaluation.flip_test={str(flip_test).lower()}"] if flip_test else [])
    people = _people(data, split, settings, images)
    _check_skeletons(predictor.net.architecture, people.skeleton.keypoints, data)
    found = predict_people(predictor.net, people, settings)
    persons = [people.record(index) for index in range(len(people))]
    if output is not None:
        _write(output, json.dumps(to_coco_results(found)))
    return Result(
        figures(persons, found, people.skeleton), output, text=f"{len(persons)} persons in ground-truth boxes"
    )


def predict(
    run: RunFolder,
    inputs: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    boxes: Annotated[Path | None, typer.Option(help="JSON: file name -> list of [x1, y1, x2, y2].")] = None,
    threshold: Annotated[float, typer.Option(help="Keypoints below this score are not drawn.")] = 0.2,
    output: Annotated[Path | None, typer.Option(help="The folder to write into.")] = None,
) -> Result:
    """Find keypoints in images: pictures with skeletons, and `keypoints.json` (COCO results)."""
    from posefabric.data.images import list_images, write_image
    from posefabric.predictor import load
    from posefabric.runs import make_folder, next_output

    predictor = load(run)
    files = list_images(inputs)
    table = _boxes(boxes)
    folder = output or next_output("predict")
    pictures = _pictures(files, folder)
    make_folder(folder)
    results = []
    for image_id, (file, picture) in enumerate(zip(files, pictures, strict=True)):
        poses = predictor.predict(file, table.get(file.name))
        write_image(picture, poses.plot(threshold))
        results += [{"file_name": file.name, **result} for result in poses.to_coco(image_id)]
    _write(folder / "keypoints.json", json.dumps(results))
    note = "" if boxes else "; without boxes, the whole image is the box"
    return Result({"images": len(files), "poses": len(results)}, folder, text=f"{len(files)} images{note}")


def show(
    architecture: Annotated[Path, typer.Argument(help="An architecture file or a run folder.")],
    output: Annotated[Path | None, typer.Option(help="An .svg or .png file.")] = None,
) -> Result:
    """Draw each part's fabric beside the body."""
    from posefabric.architecture import read_architecture
    from posefabric.draw import draw_fabrics

    file = output or Path("architecture.svg")
    draw_fabrics(read_architecture(architecture), file)
    return Result(output=file)


def profile(
    target: Annotated[str, typer.Argument(help="A run folder, an architecture file, or a recipe.")],
    input: Annotated[
        str | None, typer.Option("--input", help="HEIGHTxWIDTH; the architecture's own unless said.")
    ] = None,
) -> Result:
    """Parameters, MACs and latency, part by part."""
    from posefabric.engine.profile import profile_architecture

    input_hw = _size(input) if input else None
    described = _described(target)
    figures = profile_architecture(described, input_hw)
    supernet = Path(target) / "supernet.json"
    if supernet.is_file():
        from posefabric.architecture import read_architecture

        figures["supernet"] = profile_architecture(read_architecture(supernet), input_hw)
    return Result(figures)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    output: Annotated[Path | None, typer.Option(help="The HTML file.")] = None,
) -> Result:
    """One self-contained HTML page about one or several runs."""
    from posefabric.reporting import write_report

    return Result(output=write_report(runs, output or runs[-1] / "report.html"))


def demo(output: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("demo")) -> Result:
    """The whole way on the embedded synthetic people: search, derive, train, evaluate, predict, report."""
    from posefabric.engine.demo import run_demo

    figures, page = run_demo(output)
    return Result(_headline(figures), page)


def import_weights(
    file: Annotated[Path, typer.Argument(help="A checkpoint of the reference implementation (safetensors).")],
    case: Annotated[Path, typer.Option(help="Its configuration, case.json.")],
    output: Output = None,
) -> Result:
    """A checkpoint of the authors' code into a run folder, saying what became of every tensor."""
    from posefabric.checkpoints import load_tensors, save_tensors
    from posefabric.models.reference import import_case, read_case
    from posefabric.runs import Run, next_output

    imported = import_case(read_case(case), load_tensors(file))
    folder = output or next_output("import-weights")
    hw = list(imported.architecture.input_hw)
    settings = override(Config(), [f"model.input_hw={hw}", "backbone.name=fabric", "backbone.pretrained=false"])
    run = Run.start(folder, "import-weights", settings.data_form(), {"name": file.name})
    run.save_architecture(imported.architecture)
    save_tensors(folder / "weights.safetensors", imported.state)
    run.note(used=list(imported.used), dead=list(imported.dead))
    run.finish(0.0)
    figures = {"used": len(imported.used), "dead": len(imported.dead), "missing": 0}
    return Result(figures, folder, text="\n".join(f"dead: {name}" for name in imported.dead))


def synthesize(
    count: Annotated[int, typer.Option(min=1, help="How many persons, one image each.")],
    output: Annotated[Path, typer.Option(help="The folder to write into.")],
    skeleton: Annotated[str, typer.Option(help="coco17, mpii16 or lsp14.")] = "coco17",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> Result:
    """The embedded synthetic people as a COCO keypoint dataset."""
    from posefabric.data.coco import CocoPeople, to_coco
    from posefabric.data.images import write_image
    from posefabric.data.synthetic import SyntheticPeople
    from posefabric.runs import make_folder
    from posefabric.skeletons import named_skeleton

    people = SyntheticPeople(named_skeleton(skeleton), count, seed)
    make_folder(output / "images")
    persons = []
    for index in range(count):
        file = output / "images" / f"{index:06d}.png"
        persons.append(replace(people.record(index), image_path=str(file)))
        write_image(file, people.image(index))
    annotations = to_coco(CocoPeople(people.skeleton, tuple(persons)), output / "images")
    _write(output / "annotations.json", json.dumps(annotations))
    return Result({"persons": count}, output / "annotations.json")


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


def _config(recipe_name: str, file: Path | None, assignments: list[str]) -> Config:
    base = recipe(recipe_name).config
    return override(read_config(file, base) if file else base, assignments)


def _people(data: str, split: str, settings: Config, images: Path | None) -> People:
    from posefabric.data.sources import open_people

    people = open_people(data, split, settings.data, images)
    if len(people) == 0:
        raise UserError("bad-dataset", f"{data} has no persons in its split '{split}'", "one at least")
    return people


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


def _headline(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures people look at first; the rest is in `evaluation.json`."""
    keys = ("AP", "AR", "PCKh@0.5", "PCK@0.2", "PCK@0.2/box", "parameters", "macs")
    return {key: figures[key] for key in keys if key in figures}


def _described(target: str) -> Architecture:
    from posefabric.architecture import read_architecture

    return recipe(target).architecture() if target in RECIPES else read_architecture(Path(target))


def _check_skeletons(described: Architecture, keypoints: tuple[str, ...], data: str) -> None:
    if described.skeleton.keypoints != keypoints:
        ours = f"{described.skeleton.name}: {', '.join(described.skeleton.keypoints)}"
        raise UserError("bad-dataset", f"{data} has the keypoints {', '.join(keypoints)}", f"those of the net, {ours}")


def _boxes(file: Path | None) -> dict[str, list[tuple[float, float, float, float]]]:
    if file is None:
        return {}
    kind = dict[str, list[tuple[float, float, float, float]]]
    return documents.read_json(kind, file, code="bad-dataset")


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.partition("x")
    if not (cross and height.isdigit() and width.isdigit()):
        raise UserError("bad-value", f"--input {text}", "HEIGHTxWIDTH, such as 256x192")
    return int(height), int(width)


def _write(path: Path, text: str) -> None:
    from posefabric.runs import make_folder, write_atomic

    make_folder(path.parent)
    write_atomic(path, text)
