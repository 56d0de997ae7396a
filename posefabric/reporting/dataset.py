"""One self-contained HTML page about a dataset (`data view`): what is in it, what is wrong, what a network is shown.

Where it stands in the walk: beside stages 1 and 2. The page asks for nothing and holds no more than 5 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posefabric.data.annotations.problems import Findings
from posefabric.data.guesses import placement
from posefabric.data.records import GroundTruth, People, PersonRecord
from posefabric.errors import UserError
from posefabric.reporting import dataset_figures, dataset_pictures, dataset_tables
from posefabric.reporting.dataset_pictures import Album
from posefabric.reporting.frame import framed
from posefabric.reporting.markup import Html, element
from posefabric.settings import DataSettings

MAX_PERSONS = 50_000
"""Persons whom figures and tables rest on, taken evenly from the dataset."""

STYLES = ("style.css", "dataset.css")


@dataclass(frozen=True)
class DatasetView:
    """What the page is about: one split, as training under `settings` sees it in crops of `input_hw` pixels.

    `count` persons are shown, chosen by `seed`. `findings` are those of `data check`, None where it did not run.
    """

    name: str
    split: str
    people: People
    settings: DataSettings
    input_hw: tuple[int, int]
    findings: Sequence[Findings] | None = None
    count: int = 24
    seed: int = 0


@dataclass(frozen=True)
class Summary:
    """What the sections share: the ground truth, some or all persons, and their keypoints in their boxes."""

    truth: GroundTruth
    indices: Sequence[int]
    persons: Sequence[PersonRecord]
    places: placement.Places


def write_dataset_page(view: DatasetView, output: Path) -> Path:
    """Write the page; the same view gives the same page. Raises `UserError("not-writable")`."""
    return _write(output, dataset_page(view))


def write_problems_page(name: str, findings: Sequence[Findings], output: Path) -> Path:
    """Write the page of a dataset that cannot be read: its problems alone."""
    header = _header(name, "This dataset cannot be read yet. These are its problems, all of them at once.")
    return _write(output, framed(name, header, dataset_tables.problems(findings), styles=STYLES))


def dataset_page(view: DatasetView) -> str:
    """The whole page as text."""
    summary = summarise(view.people)
    album = Album(view.people, view.settings.margin, view.input_hw, view.seed)
    shown = dataset_pictures.people(album, view.count)
    augmented = dataset_pictures.augmented(album, view.settings.augmentation)
    suspected = dataset_pictures.suspected(album, summary.indices, summary.places)
    sections = {
        "Problems": dataset_tables.problems(view.findings),
        "At a glance": dataset_tables.facts(summary.truth, len(view.people), len(summary.persons), album),
        "People": shown,
        "Augmentation": augmented,
        "Where keypoints lie": dataset_figures.heat(summary.truth.skeleton, summary.places),
        "Box sizes": dataset_figures.box_sizes(summary.persons, view.input_hw, view.settings.margin),
        "Visibility": dataset_tables.visibility(summary.truth.skeleton, summary.persons),
        "Left and right": dataset_tables.left_and_right(
            summary.truth.skeleton, summary.persons, summary.places, suspected
        ),
        "Parts": dataset_figures.parts(summary.truth.skeleton, summary.places),
    }
    keys = {title: title.lower().replace(" ", "-") for title in sections}
    links = (element("li", element("a", title, href=f"#{key}")) for title, key in keys.items())
    contents = element("nav", element("ul", *links), aria_label="Sections")
    title = f"{view.name}, split {view.split}"
    blocks = (element("div", section, id=keys[title]) for title, section in sections.items())
    return framed(title, _header(title, _INTRODUCTION, contents), *blocks, styles=STYLES)


_INTRODUCTION = (
    "Photographs of persons (or animals, or hands) with labelled keypoints. This page shows what the labels say, what "
    "looks wrong in them, and what a network is shown in training."
)


def summarise(people: People) -> Summary:
    """Read the records once; of a large dataset, an even choice."""
    step = max(1, -(-len(people) // MAX_PERSONS))
    indices = range(0, len(people), step)
    persons = [people.record(index) for index in indices]
    truth = people.truth()
    return Summary(truth, indices, persons, placement.place(persons, truth.skeleton.num_keypoints))


def _header(title: str, lead: str, *more: str) -> Html:
    eyebrow = element("p", "posefabric data view", class_="eyebrow")
    return element("header", eyebrow, element("h1", title), element("p", lead, class_="lead"), *more)


def _write(output: Path, page: str) -> Path:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError("not-writable", f"{output}: {error.strerror}") from error
    return output
