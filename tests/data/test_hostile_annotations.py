"""Annotation files meant to hurt: any change of a value or of the bytes, any window, and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_cases import CASES, DOCUMENT, PERSON, TEXT, changed, saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posefabric.data import coco
from posefabric.data.check import check
from posefabric.errors import UserError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([0, 1, -1, 10**400, 1e308]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: str = "") -> list[str]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in inner for place in (f"{path}/{key}", *places(item, f"{path}/{key}"))]


@given(st.lists(st.tuples(st.sampled_from(places(DOCUMENT)), st.just(...) | json_values), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_change_of_a_value_is_more_than_a_problem(tmp_path: Path, changes: list[tuple[str, Any]]) -> None:
    document = DOCUMENT
    for place, value in changes:
        try:
            document = changed(place, value, document)
        except (KeyError, IndexError, TypeError, ValueError):
            continue  # an earlier change took the place away
    told = check(saved(tmp_path, document))[0]
    json.dumps([problem.as_dict() for problem in told.problems])
    assert all(line.isprintable() for line in told.lines(50))
    try:
        people = coco.load(tmp_path / "people.json")
    except UserError:
        assert told.num_blocking
    else:
        assert not told.num_blocking
        assert all(np.isfinite(person.keypoints_xy).all() for person in people.persons)


@given(st.integers(0, len(TEXT)), st.integers(0, 5), st.binary(max_size=3))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_change_of_the_bytes_is_more_than_a_problem(tmp_path: Path, at: int, length: int, put: bytes) -> None:
    path = saved(tmp_path, TEXT.encode()[:at] + put + TEXT.encode()[at + length :])
    told = check(path)[0]
    try:
        json.loads(path.read_bytes().decode())
    except ValueError:
        assert told.problems


def told(folder: Path, content: Any) -> list[tuple[str, str, Any]]:
    return [(found.code, found.pointer, found.image_id) for found in check(saved(folder, content))[0].problems]


@pytest.mark.parametrize("window", [1, 7, 64])
def test_the_window_does_not_matter(window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text is decoded in windows; where they end must change nothing."""
    contents = [case.content for case in CASES.values() if len(case.content) < 10**5]
    expected = [told(tmp_path, content) for content in contents]
    monkeypatch.setattr("posefabric.data.annotations.json_entries.WINDOW", window)
    monkeypatch.setattr("posefabric.data.annotations.json_entries._check_density", lambda text, where: None)
    assert [told(tmp_path, content) for content in contents] == expected


MEASURE = """
import sys
from pathlib import Path
from posefabric.data.check import check
def peak(): return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
before = peak()
found = check(Path(sys.argv[1]))[0]
print(peak() - before, len(found.problems))
"""

THREE = {"id": 10**6, "image_id": 3, "keypoints": [100.5, 120.25, 2, 33.5, 44.5, 1, 0, 0, 0], **PERSON}


def many_people(size: int) -> str:
    entry = json.dumps(THREE)
    entries = (entry.replace("1000000", str(10**6 + i)) for i in range(size // len(entry)))
    return TEXT.replace('"annotations": [', '"annotations": [' + ", ".join(entries) + ", ")


SIZE = 6_000_000
HOSTILE: dict[str, Callable[[], str]] = {
    "people": lambda: many_people(SIZE),
    "lists": lambda: "[" + "[]," * (SIZE // 3) + "[]]",
    "lists as annotations": lambda: '{"annotations":[' + "[]," * (SIZE // 3) + "[]]}",
    "lists in one annotation": lambda: '{"annotations":[[' + "[]," * (SIZE // 3) + "[]]]}",
    "objects": lambda: "{" + '"a":{},' * (SIZE // 7) + '"b":{}}',
    "objects under keys": lambda: "{" + ",".join(f'"{i}":{{}}' for i in range(SIZE // 12)) + "}",
    "objects elsewhere": lambda: '{"a":{"b":[' + "{}," * (SIZE // 3) + "{}]}}",
    "categories": lambda: '{"categories":[' + ",".join(f'{{"id":{i}}}' for i in range(SIZE // 14)) + "]}",
    "NaN": lambda: '{"annotations":[[' + "NaN," * (SIZE // 4) + "1]]}",
    "deep": lambda: "[" * SIZE,
    "texts": lambda: '{"annotations":[[' + '"ab",' * (SIZE // 5) + '"a"]]}',
    "text": lambda: '{"annotations":["' + "a" * SIZE,
    "NaN under long keys": lambda: (
        '{"a":[' + ",".join([('{"' + "k" * 90 + '":') * 900 + "NaN" + "}" * 900] * 60) + "]}"
    ),
    "NaN beside a long text": lambda: '{"annotations":[[NaN,"' + "\\\\" * (SIZE // 2) + '"]]}',
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
@pytest.mark.parametrize("name", HOSTILE)
def test_reading_takes_at_most_ten_times_the_file(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path, HOSTILE[name]())
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, env=environment, timeout=100
    )
    assert done.returncode == 0, done.stderr
    growth, _ = map(int, done.stdout.split())
    assert growth < 10 * path.stat().st_size


def test_a_key_written_twice_many_times_is_told_in_no_time(tmp_path: Path) -> None:
    """Twice as many keys take about twice as long, not four times; a quadratic reader needs minutes for these."""
    twice = ",".join(f'"k{i}":1,"k{i}":1' for i in range(30_000))
    file = tmp_path / "twice.json"
    file.write_text(f'{{"images":[],"categories":[],"annotations":[{{{twice}}}]}}')
    with pytest.raises(UserError, match="duplicate-key"):
        coco.load(file)


def test_long_keys_are_cut_in_pointers(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    file.write_text(f'{{"{"x" * 100_000}":[{",".join(["NaN"] * 500)}],"images":[],"categories":[],"annotations":[]}}')
    with pytest.raises(UserError) as caught:
        coco.load(file)
    assert len(str(caught.value)) < 100_000


def test_many_unknown_flip_pairs_are_told_briefly(tmp_path: Path) -> None:
    names = [f"name_{i}" for i in range(1000)]
    pairs = [[f"left_{i}", f"right_{i}"] for i in range(4000)]
    category = {"id": 1, "name": "x", "keypoints": names, "flip_pairs": pairs}
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps({"images": [], "annotations": [], "categories": [category]}))
    with pytest.raises(UserError) as caught:
        coco.load(file)
    assert len(str(caught.value)) < 50_000


def test_a_category_without_keypoints_may_say_so(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 9, 9], "keypoints": [1, 2, 2], "area": 81}
        ],
        "categories": [
            {"id": 1, "name": "ball", "keypoints": [], "skeleton": []},
            {"id": 2, "name": "ant", "keypoints": ["head"], "skeleton": None, "flip_pairs": None, "sigmas": None},
        ],
    }
    file = tmp_path / "ant.json"
    file.write_text(json.dumps(document))
    assert coco.load(file).skeleton.keypoints == ("head",)


def test_many_constants_deep_in_one_entry_are_told_briefly(tmp_path: Path) -> None:
    """A place for each of them took minutes."""
    deep = "[" * 300 + ",".join(["NaN"] * 50_000) + "]" * 300
    told = check(saved(tmp_path, TEXT.replace('"iscrowd": 0', f'"iscrowd": 0, "more": {deep}', 1)))[0]
    assert [problem.code for problem in told.problems] == ["not-finite"] * 501
    assert told.problems[-1].found == "49,500 more NaN or Infinity"


def test_an_integer_of_thousands_of_digits_is_told_in_our_words(tmp_path: Path) -> None:
    (problem,) = check(saved(tmp_path, TEXT.replace('"iscrowd": 0', '"iscrowd": ' + "1" * 5000, 1)))[0].problems
    assert problem.code == "json-syntax"
    assert problem.found.startswith("an integer of thousands of digits, after line 1")


def test_no_category_has_a_hundred_thousand_keypoints(tmp_path: Path) -> None:
    """Comparing each name with each took minutes."""
    names = [f"{side}_{i}" for i in range(50_000) for side in ("left", "right")]
    told = check(saved(tmp_path, changed("/categories/0/keypoints", names)))[0]
    assert told.problems[0].found == "100,000 names"


def test_places_on_one_long_line_are_found_in_one_pass(tmp_path: Path) -> None:
    """Counting each column from the line's beginning takes as long as the line, each."""
    filler, entries = "k" * 1_000_000, ",".join(["NaN"] * 3000)
    told = check(saved(tmp_path, f'{TEXT[:-1]}, "{filler}": [{entries}]}}'))[0]
    columns = [int(problem.found.rsplit(" ", 1)[1]) for problem in told.problems]
    start = len(TEXT) + len(f', "{filler}": [')
    assert columns == list(range(start, start + 12_000, 4))
