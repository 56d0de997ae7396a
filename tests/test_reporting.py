"""Reports: self-contained, escaped, complete about what a run wrote and silent about what it did not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from posefabric import documents
from posefabric.architecture import supernet
from posefabric.backbone import Backbone
from posefabric.errors import UserError
from posefabric.reporting import write_report
from posefabric.reporting.markup import Html, element, join
from posefabric.reporting.sections import duration, magnitude
from posefabric.skeletons import COCO17
from posefabric.space import SearchSpace

EVIL = "<script>alert(1)</script>"
VOID = {"img", "meta", "br", "path", "use", "rect"}


class Page(HTMLParser):
    """Every start tag with its attributes, the visible text, and whether tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes a complete run folder; names given are left out."""

    def make(name: str, *without: str) -> Path:
        run = tmp_path / name
        run.mkdir()
        about = {"format": 1, "command": f"train {EVIL}", "config": {"optimizer": {"lr": 1e-3, EVIL: EVIL}}, "data": {}}
        rows = [{"step": s, "split": "train", "loss": 1.0 / (s + 1)} for s in range(3)]
        net = supernet(COCO17, COCO17.partition("3"), Backbone("mobilenetv2_100"), SearchSpace.head(4), (64, 64))
        files = {
            "run.json": json.dumps({**about, "seed": 3, "seconds": 75, "versions": {"torch": "2.14.1"}}),
            "metrics.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "architecture.json": documents.to_json(net),
            "evaluation.json": json.dumps({"PCK@0.2": 87.31, "left_wrist": 61.5, "parameters": 1.3e6}),
        }
        for file, text in files.items():
            if file not in without:
                (run / file).write_text(text)
        if "pictures" not in without:
            (run / "pictures").mkdir()
            for picture in ("worst-01.png", "best-01.jpg"):
                cv2.imwrite(str(run / "pictures" / picture), np.full((40, 30, 3), 128, np.uint8))
        return run

    return make


def page_of(*runs: Path) -> tuple[str, Page]:
    output = write_report(runs, runs[0].parent / "out" / "report.html")
    text = output.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    return text, page


def test_a_report_asks_for_nothing_and_stays_small(make_run: Callable[..., Path]) -> None:
    text, page = page_of(make_run("one"), make_run("two", "pictures"))
    assert len(text.encode()) < 5_000_000
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:image/jpeg;base64,")), (tag, target)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_ids_are_unique_and_every_link_has_its_target(make_run: Callable[..., Path]) -> None:
    _, page = page_of(make_run("one"), make_run("two"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {(a.get("href") or a.get("xlink:href") or "")[1:] for t, a in page.tags if t in ("a", "use")}
    assert links <= set(ids)


def test_everything_from_files_is_escaped(make_run: Callable[..., Path]) -> None:
    text, page = page_of(make_run("<b>run"))
    assert EVIL not in text
    assert any(EVIL in words for words in page.words)
    assert "<b>run" in page.words


def test_a_report_shows_what_the_run_wrote(make_run: Callable[..., Path]) -> None:
    _, page = page_of(make_run("one"))
    words = " ".join(page.words)
    for expected in ("87.3 %", "1.30 M", "64, 64 px", "1 min 15 s", "61.5", "optimizer.lr", "0.001", "2.14.1"):
        assert expected in words
    assert words.index("best 01") < words.index("worst 01")
    assert [a["alt"] for t, a in page.tags if t == "img"] == [
        "Predicted skeletons, best 01",
        "Predicted skeletons, worst 01",
    ]


@pytest.mark.parametrize("count", [1, 3, 500])
def test_a_report_counts_and_names_skipped_images(make_run: Callable[..., Path], count: int) -> None:
    _, plain = page_of(make_run("plain"))
    assert "Skipped images" not in plain.words
    run = make_run("one")
    names = [f"photo {number}.jpg" for number in range(count - 1)] + [f"{EVIL}\n\udcff.jpg"]
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**about, "skipped_images": names[::-1]}))
    _, page = page_of(run)
    words = "\n".join(page.words)
    assert f"{count} damaged image" in words
    assert f"{EVIL}\\n\\udcff.jpg" in words
    assert words.count(".jpg") == min(count, 200)
    assert ("stand in run.json" in words) == (count > 200)


FILES = {
    "metrics.jsonl": "no metrics.jsonl",
    "architecture.json": "no architecture.json",
    "evaluation.json": "no evaluation.json",
    "pictures": "no pictures",
}


@pytest.mark.parametrize("missing", FILES)
def test_what_is_missing_is_noted_and_the_rest_is_shown(make_run: Callable[..., Path], missing: str) -> None:
    _, page = page_of(make_run("one", missing))
    words = " ".join(page.words)
    assert [file for file, note in FILES.items() if note in words] == [missing]


def test_a_run_of_run_json_alone_still_gives_a_report(make_run: Callable[..., Path]) -> None:
    run = make_run("bare", *FILES)
    (run / "run.json").write_text('{"format": 1, "command": "train", "config": {}, "data": {}}')
    _, page = page_of(run)
    assert all(note in " ".join(page.words) for note in FILES.values())


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", "[1]"),
        ("run.json", "{"),
        ("metrics.jsonl", '{"step": 1}\nnonsense\n'),
        ("evaluation.json", "\xff"),
        ("architecture.json", "{}"),
        ("pictures/best-01.jpg", "no picture"),
    ],
)
def test_a_damaged_file_is_named(make_run: Callable[..., Path], file: str, content: str) -> None:
    run = make_run("one")
    (run / file).write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=file.replace(".", r"\.")) as raised:
        write_report([run], run / "report.html")
    assert raised.value.code == "bad-run"
    assert not (run / "report.html").exists()


def test_a_folder_without_run_json_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        write_report([tmp_path], tmp_path / "report.html")
    assert raised.value.code == "bad-run"


def test_pictures_stop_at_the_budget(make_run: Callable[..., Path]) -> None:
    run = make_run("many")
    noise = np.random.default_rng(0).integers(0, 255, (900, 1000, 3), np.uint8)
    for index in range(8):
        cv2.imwrite(str(run / "pictures" / f"typical-{index}.jpg"), noise)
    text, page = page_of(run)
    assert len(text.encode()) < 5_000_000
    assert re.search(r"[1-8] more pictures are in the run folder", " ".join(page.words))


def test_the_same_architecture_is_drawn_once(make_run: Callable[..., Path]) -> None:
    _, page = page_of(make_run("search"), make_run("train"))
    assert sum(attributes.get("aria-label", "").startswith("Body figure") for _, attributes in page.tags) == 1


def test_elements_escape_plain_text_only() -> None:
    assert element("p", "a<b", Html("<i>c</i>"), title='"', class_="x") == (
        '<p title="&quot;" class="x">a&lt;b<i>c</i></p>'
    )
    assert join("&", Html("&amp;")) == "&amp;&amp;"


def test_numbers_read_well() -> None:
    figures = [magnitude(value) for value in (12, 1234, 56_789_012, 523_456_789, 1.24e9)]
    assert figures == ["12", "1.23 k", "56.8 M", "523 M", "1.24 G"]
    assert [duration(seconds) for seconds in (12.4, 200, 7500)] == ["12 s", "3 min 20 s", "2 h 5 min"]
