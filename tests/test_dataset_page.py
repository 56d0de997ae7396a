"""The page about a dataset: it asks for nothing, stays small, holds every section, and says what is wrong."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from data.test_init import COW, write

from posefabric import commands
from posefabric.data.memory import InMemory
from posefabric.data.synthetic import SyntheticPeople
from posefabric.draw.people import draw_labels
from posefabric.errors import BAD_DATA, UserError
from posefabric.reporting.dataset import DatasetView, dataset_page
from posefabric.reporting.dataset_figures import _histogram
from posefabric.settings import DataSettings
from posefabric.skeletons import LSP14

SECTIONS = (
    "Problems",
    "At a glance",
    "People",
    "Before and after augmentation",
    "Where keypoints lie",
    "Box sizes",
    "Visibility",
    "Left and right",
    "Parts",
)
VOID = {"img", "meta", "br"}


class Page(HTMLParser):
    """Start tags with their attributes, titles of sections, and text; closing tags must match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.titles: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open += [tag] if tag not in VOID else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h3":
            self.titles.append(data)
        self.words += data


def photographs(folder: Path, names: range, size: tuple[int, int] = (100, 100)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        noise = np.random.default_rng(name).integers(0, 255, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{name}.jpg"), noise)


@pytest.fixture(scope="module")
def synthetic_page() -> str:
    return dataset_page(view(count=5))


PEOPLE = InMemory(SyntheticPeople(LSP14, 52, seed=0, image_hw=(64, 48)))


def view(count: int = 5, seed: int = 0) -> DatasetView:
    return DatasetView("<b>mine</b>", "train", PEOPLE, DataSettings(), (96, 96), None, count, seed)


def test_the_page_asks_for_nothing_and_stays_small(synthetic_page: str) -> None:
    page = Page(synthetic_page)
    assert len(synthetic_page.encode()) < 5_000_000
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:image/jpeg;base64,", "data:image/png;base64,")), (tag, target)
    assert "@import" not in synthetic_page
    assert not re.search(r"url\((?!#)", synthetic_page)


def test_the_page_holds_every_section_and_links_to_it(synthetic_page: str) -> None:
    page = Page(synthetic_page)
    assert page.titles == list(SECTIONS)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {(attributes.get("href") or "")[1:] for tag, attributes in page.tags if tag == "a"}
    assert links <= set(ids)
    assert len(links) == len(SECTIONS)


def test_every_picture_is_told_in_words_and_names_are_escaped(synthetic_page: str) -> None:
    page = Page(synthetic_page)
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert all(attributes.get("alt") for attributes in pictures)
    assert len(pictures) >= 5 + LSP14.num_keypoints
    assert "<b>mine" not in synthetic_page
    assert "<b>mine</b>, split train" in page.words
    scrolling = [attributes for _, attributes in page.tags if "scrolling" in (attributes.get("class") or "")]
    assert scrolling
    assert all(attributes.get("tabindex") == "0" and attributes.get("aria-label") for attributes in scrolling)


def test_the_same_seed_gives_the_same_page(synthetic_page: str) -> None:
    assert dataset_page(view(count=5)) == synthetic_page
    assert dataset_page(view(count=5, seed=1)) != synthetic_page


def test_as_many_persons_as_fit_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from posefabric.reporting import dataset_pictures

    monkeypatch.setattr(dataset_pictures, "PICTURE_BYTES", 60_000)
    text = dataset_page(view(count=52))
    assert "more would make this page too large" in Page(text).words
    assert len(text) < 600_000


def test_missing_and_damaged_images_are_said_and_others_shown(tmp_path: Path) -> None:
    file = write(tmp_path / "cow.json", {"cow": COW}, persons=24)
    photographs(tmp_path / "images", range(1, 19))
    for name in (3, 6, 9):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(b"no image")
    commands.init(file, val=file, output=tmp_path / "dataset.yaml")
    result = commands.view(str(tmp_path / "dataset.yaml"), count=24, output=tmp_path / "view.html")
    page = Page((tmp_path / "view.html").read_text())
    assert page.titles == list(SECTIONS)
    assert "9 photographs that this page wanted to show could not be read" in page.words
    assert result.figures["problems"] > 0
    assert "bad-image" in page.words
    crops = [a for tag, a in page.tags if tag == "img" and (a["alt"] or "").startswith("Crop with labels: person")]
    assert len(crops) == 15


def test_without_any_image_the_labels_are_still_shown(tmp_path: Path) -> None:
    file = write(tmp_path / "abc.json", {"abc": ["a", "b", "c"]}, persons=40)
    commands.view(str(file), output=tmp_path / "view.html")
    page = Page((tmp_path / "view.html").read_text())
    assert page.titles == list(SECTIONS)
    assert "No photograph could be read" in page.words
    assert "The skeleton has no mirror pairs" in page.words


def test_a_file_that_cannot_be_read_gives_a_page_of_its_problems(tmp_path: Path) -> None:
    file = write(tmp_path / "cow.json", {"cow": COW}, persons=6)
    document = json.loads(file.read_text())
    document["annotations"][2]["keypoints"].pop()
    file.write_text(json.dumps(document))
    result = commands.view(str(file), output=tmp_path / "view.html")
    page = Page((tmp_path / "view.html").read_text())
    assert result.exit_code == BAD_DATA
    assert page.titles == ["Problems"]
    assert "keypoint-count" in page.words
    with pytest.raises(UserError, match="html"):
        commands.view(str(file), output=file)
    for wrong in ({"data": str(tmp_path / "none.json")}, {"data": str(file), "split": "tset"}):
        with pytest.raises(UserError):
            commands.view(**wrong, output=tmp_path / "none.html")
        assert not (tmp_path / "none.html").exists()


@pytest.mark.real_data
def test_the_page_of_photographs(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "coco_mini" / "person_keypoints_train.json"
    before = file.read_bytes()
    commands.view(str(file), output=tmp_path / "view.html")
    text = (tmp_path / "view.html").read_text()
    assert Page(text).titles == list(SECTIONS)
    assert len(text.encode()) < 5_000_000
    assert file.read_bytes() == before


def test_hidden_keypoints_are_rings_and_unlabelled_ones_are_not_drawn() -> None:
    image = np.full((200, 200, 3), 90, np.uint8)
    points = np.full((LSP14.num_keypoints, 2), 10.0)
    points[0], points[1], points[2] = (50, 50), (50, 100), (50, 150)
    visibility = np.zeros(LSP14.num_keypoints, dtype=np.int64)
    visibility[:2] = 2, 1
    skeleton = LSP14.__class__(LSP14.keypoints)
    drawn = draw_labels(image, points, visibility, skeleton, person_px=200)
    assert drawn[50, 50].tolist() == [245, 245, 245]
    assert drawn[100, 50].max() < 60
    assert (drawn[100, 44:57] > 200).any()
    assert (drawn[150, 50] == 90).all()
    assert (image == 90).all()


@pytest.mark.parametrize("low_high", [(104, 125), (405, 420), (50, 120), (10, 900)], ids=str)
def test_a_histogram_of_sizes_tells_where_its_bars_are(low_high: tuple[int, int]) -> None:
    figure = _histogram(np.linspace(*low_high, 50), "px", None)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    start, end = axes.get_xlim()
    assert sum(start <= tick <= end for tick in axes.get_xticks()) >= 3
