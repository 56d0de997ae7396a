"""The report's section on what goes wrong: there with a diagnosis, not without, and only with a sound one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_reporting import Page

from posefabric.data.records import GroundTruth, PersonRecord
from posefabric.draw import plot_metrics
from posefabric.errors import UserError
from posefabric.evaluation.diagnosis import diagnosis_of
from posefabric.evaluation.errors import KINDS
from posefabric.evaluation.predictions import of_persons
from posefabric.reporting import write_report
from posefabric.skeletons import LSP14

TITLE = "What goes wrong"


def some_diagnosis(labelled: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels_xy = rng.uniform(0, 200, (6, 14, 2))
    visibility = np.full(14, 2 * labelled)
    visibility[3] = 0
    box = np.array([0.0, 0, 200, 200])
    persons = [PersonRecord(i, 1000 + i, box, xy, visibility, 9000.0) for i, xy in enumerate(labels_xy)]
    found_xy = labels_xy + rng.normal(0, 9, labels_xy.shape)
    return diagnosis_of(GroundTruth(LSP14, persons, range(6)), of_persons(found_xy, persons))


def run_with(folder: Path, diagnosis: Any) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text('{"format": 1, "command": "train", "config": {}, "data": {}}')
    if diagnosis is not None:
        (folder / "diagnosis.json").write_text(json.dumps(diagnosis))
    return folder


def page_of(*runs: Path) -> tuple[str, Page]:
    text = write_report(runs, runs[0].parent / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    return text, page


def test_everything_of_a_diagnosis_is_shown(tmp_path: Path) -> None:
    diagnosis = some_diagnosis()
    _, page = page_of(run_with(tmp_path / "run", diagnosis))
    words = " ".join(page.words)
    assert TITLE in words
    for name, keypoint in diagnosis["keypoints"].items():
        row = words[words.index(name.replace("_", " ")) :]
        judged = sum(keypoint["counts"].values())
        for kind in KINDS:
            if judged and keypoint["counts"][kind]:
                assert f"{100 * keypoint['counts'][kind] / judged:.1f}" in row
    for effect in diagnosis["effects"].values():
        assert f"{effect['AP']:.3f}" in words
    for case in diagnosis["worst"]:
        assert str(case["annotation_id"]) in words
    assert "Which keypoints are taken for each other" in words
    assert "threshold, times the head" in words
    assert "not labelled" in words  # right hip


def test_bars_are_as_long_as_the_shares(tmp_path: Path) -> None:
    _, page = page_of(run_with(tmp_path / "run", some_diagnosis()))
    widths = [
        float(match[1])
        for tag, attributes in page.tags
        if tag == "i" and (match := re.match(r"width:([\d.]+)%", attributes.get("style") or ""))
    ]
    assert sum(widths) == pytest.approx(100 * 14, abs=0.5)  # 13 keypoints that are labelled, and all together


@pytest.mark.parametrize("diagnosis", [None, some_diagnosis(labelled=False)])
def test_without_one_there_is_no_section(tmp_path: Path, diagnosis: Any) -> None:
    _, page = page_of(run_with(tmp_path / "run", diagnosis))
    assert TITLE not in page.words


def test_two_runs_share_no_id(tmp_path: Path) -> None:
    _, page = page_of(*(run_with(tmp_path / name, some_diagnosis()) for name in ("one", "two")))
    assert page.words.count(TITLE) == 2
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def spoil(diagnosis: dict[str, Any], *path: str, value: Any) -> dict[str, Any]:
    place: Any = diagnosis
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return diagnosis


@pytest.mark.parametrize(
    "damaged",
    [
        [1],
        {},
        spoil(some_diagnosis(), "format", value=2),
        spoil(some_diagnosis(), "effects", value={"as found": {"AP": 1.0, "AP50": 1.0, "AP75": 1.0}}),
        spoil(some_diagnosis(), "keypoints", "neck", "counts", value={"good": 3}),
        spoil(some_diagnosis(), "poses", "persons", value="many"),
    ],
)
def test_a_damaged_diagnosis_is_named(tmp_path: Path, damaged: Any) -> None:
    run = run_with(tmp_path / "run", damaged)
    with pytest.raises(UserError, match=r"diagnosis\.json") as raised:
        write_report([run], run / "report.html")
    assert raised.value.code == "bad-run"


def test_the_figure_draws_every_curve_and_names_the_published_points(tmp_path: Path) -> None:
    precision = {f"{oks:.2f}": [1 - oks] * 101 for oks in np.arange(0.5, 1, 0.05)}
    figure = plot_metrics(precision, ("PCKh", (0.0, 0.1, 0.5), (0.0, 40.0, 90.0)), tmp_path / "metrics.svg")
    left, right = figure.axes
    assert len(left.lines) == 10
    assert [text.get_text() for text in right.texts] == ["40.0 at 0.1", "90.0 at 0.5"]
    assert (tmp_path / "metrics.svg").stat().st_size > 1000
    assert len(plot_metrics(precision).axes) == 1
