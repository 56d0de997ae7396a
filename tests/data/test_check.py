"""`data check`: a table of broken annotation files, one case each, and what is said about each of them."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_cases import CASES, DOCUMENT, TEXT, A, K, changed, saved
from typer.testing import CliRunner

from posefabric import cli, commands
from posefabric.data import coco
from posefabric.data.annotations import problems
from posefabric.data.annotations.reader import read_annotations
from posefabric.data.check import Request, check, size_in_bytes
from posefabric.errors import BAD_DATA, UserError


@pytest.mark.parametrize("name", CASES)
def test_each_case_is_told_with_place_ids_found_expected_and_fix(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = saved(tmp_path, case.content)
    told = check(path)[0].problems
    (problem,) = told
    assert (problem.code, problem.file, problem.pointer) == (case.code, str(path), case.pointer)
    assert (problem.annotation_id, problem.image_id) == case.ids
    assert case.found in problem.found
    assert case.expected in problem.expected
    assert case.fix in problem.fix


@pytest.mark.parametrize("name", CASES)
def test_load_refuses_the_file_or_says_what_it_derived(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = CASES[name]
    path = saved(tmp_path, case.content)
    if case.code in problems.HARMLESS:
        assert len(coco.load(path)) == 2
        assert f"1 {case.code}" in caplog.text
        return
    with pytest.raises(UserError) as caught:
        coco.load(path)
    assert caught.value.code == "bad-annotation"
    for text in (str(path), case.pointer, case.found, case.expected, case.fix, f"[{case.code}]"):
        assert text in str(caught.value)


def test_the_document_itself_is_clean(tmp_path: Path) -> None:
    found = check(saved(tmp_path, DOCUMENT))[0]
    assert found.problems == []
    assert [line for line in found.noted() if "no images in" not in line] == []


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_9_to_11_missing_and_empty_sections(section: str, tmp_path: Path) -> None:
    for content, code in ((changed(f"/{section}"), "missing-section"), (changed(f"/{section}", []), "empty-section")):
        (problem,) = check(saved(tmp_path, content))[0].problems
        assert (problem.code, problem.pointer) == (code, f"/{section}")


def test_15_image_and_category_ids_again(tmp_path: Path) -> None:
    told = check(saved(tmp_path, changed("/images/1/id", 3)))[0].problems
    assert [(p.code, p.pointer, p.image_id) for p in told] == [
        ("duplicate-id", "/images/1/id", 3),
        ("unknown-image", "/annotations/0/image_id", 4),
    ]
    document = changed("/categories", [DOCUMENT["categories"][0]] * 2)
    assert [p.pointer for p in check(saved(tmp_path, document))[0].problems] == ["/categories/1/id"]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    document = changed(f"{K}/4", 1e99, changed(f"{A}/iscrowd", 2, changed("/images/0/width", -1)))
    told = [problem.pointer for problem in check(saved(tmp_path, document))[0].problems]
    assert told == ["/images/0/width", f"{K}/4", f"{A}/iscrowd"]


def test_8_large_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(2_000_000_000)  # a hole: takes no place on the disk
    (problem,) = check(path)[0].problems
    assert (problem.code, problem.found, problem.expected) == (
        "too-large", "2,000,000,000 bytes", "at most 1,000,000,000 bytes",
    )  # fmt: skip
    assert "--max-json" in problem.fix
    (problem,) = check(saved(tmp_path, DOCUMENT), Request(max_bytes=len(TEXT) - 1))[0].problems
    assert problem.code == "too-large"


@pytest.mark.parametrize(("text", "size"), [("1G", 10**9), ("300M", 3 * 10**8), ("1.5k", 1500), ("2GB", 2 * 10**9)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "G", "1T", "-1", "1e9", "nan", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="bad-value"):
        size_in_bytes(text)


NOTES: dict[str, tuple[Callable[[Any], None], str]] = {
    "outside the box": (
        lambda d: d["annotations"][1]["keypoints"].__setitem__(0, 30), "persons with keypoints outside their own box: 1"
    ),
    "a little outside the image": (
        lambda d: d["annotations"][1]["keypoints"].__setitem__(0, 70), "outside their image, by less than their box: 1"
    ),
    "crowd": (lambda d: d["annotations"][1].update(iscrowd=1), "crowds, which are not scored: 1"),
    "nothing labelled": (
        lambda d: d["annotations"][1].update(keypoints=[0] * 9, num_keypoints=0, area=0, bbox=[0, 0, 0, 0]),
        "persons without a labelled keypoint, which are not scored: 1",
    ),
    "no keypoints": (lambda d: d["annotations"][1].pop("keypoints"), "annotations of 'cat' without keypoints: 1"),
    "one keypoint at 0, 0": (
        lambda d: d["annotations"][1]["keypoints"].__setitem__(slice(2), [0, 0]), "a labelled keypoint at exactly 0, 0"
    ),
    "names in no pair": (
        lambda d: d["categories"][0].update(flip_pairs=[]), "in no flip pair, such as left_eye and right_eye"
    ),
    "no flip pairs": (lambda d: d["categories"][0].pop("flip_pairs"), "guessed from the names: left_eye and right_eye"),
    "no sizes": (
        lambda d: [image.pop(key) for image in d["images"] for key in ("width", "height")],
        "images without width and height: 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_notes_are_no_problems(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    change, text = NOTES[name]
    document = copy.deepcopy(DOCUMENT)
    change(document)
    with caplog.at_level(logging.INFO):
        result = commands.check(saved(tmp_path, document))
    assert (result.items, result.exit_code) == ([], 0)
    assert text in caplog.text


def test_the_command_prints_a_list_with_the_keys_of_the_contract(tmp_path: Path) -> None:
    result = commands.check(saved(tmp_path, changed(f"{A}/bbox")))
    (item,) = result.items
    assert list(item) == ["code", "file", "pointer", "annotation_id", "image_id", "found", "expected", "fix"]
    assert result.exit_code == BAD_DATA
    assert "1 problem in 1 persons, 2 images" in result.lines[0]
    assert any("/annotations/1/bbox (annotation 8, image 3)" in line for line in result.lines)


def test_on_the_command_line_json_is_a_list_and_the_code_65(tmp_path: Path) -> None:
    path = saved(tmp_path, changed(f"{A}/bbox"))
    outcome = CliRunner().invoke(cli.build(), ["data", "check", str(path), "--json", "--quiet"])
    assert (outcome.exit_code, [item["code"] for item in json.loads(outcome.stdout)]) == (BAD_DATA, ["bad-box"])
    outcome = CliRunner().invoke(cli.build(), ["data", "check", str(saved(tmp_path, DOCUMENT)), "--json"])
    assert (outcome.exit_code, json.loads(outcome.stdout)) == (0, [])
    outcome = CliRunner().invoke(cli.build(), ["data", "check", str(path), "--max-json", "100"])
    assert (outcome.exit_code, "at most 100 bytes" in outcome.stdout) == (BAD_DATA, True)


def test_fifty_of_a_kind_are_printed_and_all_are_listed(tmp_path: Path) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["annotations"] += [{**document["annotations"][0], "id": i, "area": -1} for i in range(100, 180)]
    result = commands.check(saved(tmp_path, document))
    assert len(result.items) == 80
    assert sum("found -1" in line for line in result.lines) == 50
    assert result.lines[-1].strip() == "and 30 more"


def test_beyond_a_number_problems_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "KEPT", 10)
    document = copy.deepcopy(DOCUMENT)
    document["annotations"] = [{**document["annotations"][0], "id": i, "area": -1} for i in range(30)]
    found = check(saved(tmp_path, document))[0]
    assert len([problem for problem in found.problems if problem.code == "bad-area"]) == 10
    assert found.counts["bad-area"] == 30
    assert "20 more of bad-area are not listed" in found.noted()
    monkeypatch.setattr("posefabric.data.annotations.json_problems.GIVE_UP", 15)
    assert check(saved(tmp_path, document))[0].problems[-1].pointer == "/annotations/15"


def test_every_category_with_keypoints_is_checked_unless_one_is_named(tmp_path: Path) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["categories"] += [{"id": 2, "name": "bird", "keypoints": ["beak"]}, {"id": 5, "name": "stone"}]
    document["annotations"][1] |= {"category_id": 2, "keypoints": [1, 1, 5], "num_keypoints": 1}
    path = saved(tmp_path, document)
    assert [problem.pointer for problem in check(path)[0].problems] == [f"{K}/2"]
    assert check(path, Request(category="cat"))[0].problems == []
    (problem,) = check(path, Request(category="fish"))[0].problems
    assert (problem.code, problem.expected) == ("unknown-name", 'one of "cat", "bird", "stone"')


@pytest.mark.real_data
@pytest.mark.parametrize(
    "file",
    [
        "coco_mini/person_keypoints_val.json",
        "coco_mini/person_keypoints_train.json",
        "coco_mmpose/test_coco.json",
        "lspet/person_keypoints_train.json",
        "lspet/person_keypoints_val.json",
        "coco_eval/person_keypoints_val2017_538.json",
    ],
)
def test_real_datasets_are_clean(real_data: Path, file: str) -> None:
    assert check(real_data / file)[0].problems == []


def test_reading_is_one_pass_over_what_is_kept(tmp_path: Path) -> None:
    """Annotations before categories, as COCO has them, and after them read the same."""
    backwards = dict(reversed(DOCUMENT.items()))
    first = read_annotations(saved(tmp_path, DOCUMENT), tmp_path)
    again = read_annotations(saved(tmp_path, backwards), tmp_path)
    for one, other in zip(first.persons[1], again.persons[1], strict=True):
        assert (one.annotation_id, one.image_path) == (other.annotation_id, other.image_path)
        np.testing.assert_array_equal(one.keypoints_xy, other.keypoints_xy)
