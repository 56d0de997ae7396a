"""JSON and YAML become plain data: nothing means two things, nothing is looked up, and nothing is too large."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefabric import texts
from posefabric.config import Config, override, read_config
from posefabric.errors import UserError
from posefabric.texts import parse_json, parse_yaml, read_text, read_yaml

CODE = "bad-config"

letters = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | letters
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(letters, inner, max_size=4)
)
"""What JSON can say; DEL, and letters beyond 16 bits, it writes as YAML does not."""


def of_yaml(text: str) -> Any:
    return parse_yaml(text, code=CODE, where="text")


def of_json(text: str) -> Any:
    return parse_json(text, code=CODE, where="text")


@given(documents)
def test_json_gives_back_what_python_wrote(data: Any) -> None:
    assert of_json(json.dumps(data)) == data


@given(documents)
def test_json_is_yaml(data: Any) -> None:
    assert of_yaml(json.dumps(data)) == data


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("a: 'on'", {"a": "on"}),
        ("a: ${b}", {"a": "${b}"}),
        ("[1, {b: null}]", [1, {"b": None}]),
        ("a: 2020-01-01", {"a": "2020-01-01"}),
        ("1: a\ntrue: b\n~: c", {"1": "a", "true": "b", "~": "c"}),
        ("a: |\n  b\n  c\n", {"a": "b\nc\n"}),
        ("a:\n- b\n- - c\n  - d\n- e: f\n  g: h\n", {"a": ["b", ["c", "d"], {"e": "f", "g": "h"}]}),
        ("a: &b 1", {"a": 1}),
        ("5", 5),
    ],
)
def test_yaml_is_plain_data(tmp_path: Path, text: str, data: Any) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    assert read_yaml(file, code=CODE) == data


NUMBERS = {
    "1e-3": 0.001,
    "1E-3": 0.001,
    "1e3": 1000.0,
    "1e+3": 1000.0,
    "-1e3": -1000.0,
    "1.e3": 1000.0,
    ".5": 0.5,
    "5.": 5.0,
    "0.50": 0.5,
    "00.5": 0.5,
    "-.5e-1": -0.05,
    "6.02e23": 6.02e23,
    "0": 0,
    "-0": 0,
    "7": 7,
    "+7": 7,
    "-7": -7,
    "150000000": 150000000,
    ".inf": math.inf,
    "-.inf": -math.inf,
    "true": True,
    "True": True,
    "false": False,
    "null": None,
    "~": None,
}
"""What is no text, by YAML 1.2."""

TEXTS = (
    *("1e", "e3", "1e3.5", "1-3", "--1", "1.2.3", "1,5", "5%", "150M", "1.2G", "12ms", "0x", "inf", "nan", "NaN"),
    *("tRue", "truely", "nullable", "y", "n", "onset", "off-line", "nobody", "yes please", "a:b", "2020-01-01", "v1.0"),
)
"""What looks like something else and is a text to everybody."""

AMBIGUOUS = (
    *("yes", "Yes", "YES", "no", "No", "NO", "on", "On", "off", "OFF"),
    *("12:30", "1:30:00", "-12:30", "12:30.5", "010", "-010", "08", "0x1F", "0o17", "0b11", "1_000", "1_000.5", "0_1"),
)
"""What YAML 1.1 reads otherwise than 1.2 does."""


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_a_number(text: str) -> None:
    found = of_yaml(f"a: {text}")["a"]
    assert found == NUMBERS[text]
    assert type(found) is type(NUMBERS[text])


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_stays_one(text: str) -> None:
    assert of_yaml(f"a: {text}") == {"a": text}


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_programs_read_differently_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"backbone:\n  name: {text}\n")
    found = f"'{text}', which programs read differently"
    with pytest.raises(UserError, match=f"{found}, line 2, column 9; allowed: .* in quotes"):
        read_config(tmp_path / "run.yaml", Config())
    with pytest.raises(UserError, match=f"--set backbone.name={text} has {found}"):
        override(Config(), [f"backbone.name={text}"])
    assert of_yaml(f"a: '{text}'") == {"a": text}


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("train.lr='1e-3'", "a valid number"),
        ("train.epochs='3'", "a valid integer"),
        ("train.epochs=3.0", "a valid integer"),
        ("train.epochs=true", "a valid integer"),
        ("train.lr=true", "a valid number"),
        ("evaluation.flip_test=1", "a valid boolean"),
        ("evaluation.flip_test='true'", "a valid boolean"),
        ("evaluation.flip_test=y", "a valid boolean"),
        ("backbone.name=1", "a valid string"),
        ("data.mean=1,2,3", "a valid tuple|a valid array"),
    ],
)
def test_nothing_is_taken_for_something_else(assignment: str, problem: str) -> None:
    with pytest.raises(UserError, match=f"Input should be {problem}"):
        override(Config(), [assignment])


def test_a_number_may_stand_for_a_name() -> None:
    assert override(Config(), ["model.parts=5"]).model.parts == "5"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\na: 2", "has the key 'a' twice, line 2, column 1"),
        ("a: [", "is not YAML"),
        ("a: !!python/object:os.system {}", "has the tag tag:yaml.org,2002:python/object:os.system, line 1, column 4"),
        ("a: !!str 1", "has the tag"),
        ("a: ! 1", "has the tag"),
        ("a: &b 1\nc: *b", r"refers to another place \(\*b\), line 2, column 4; allowed: everything written out"),
        ("<<: {a: 1}", r"merges another mapping \(<<\)"),
        ("? [1]\n: 2", "has a list as a key"),
        ("? {}\n: 2", "has a mapping as a key"),
        ("a: \x00", "is not YAML: unacceptable character"),
        ("a: 1\n---\nb: 2", "begins another document"),
        ("a: " + "1" * 5000, "an integer of thousands of digits"),
        ("a: " + "x" * 5000, "a text of 5,000 characters; allowed: at most 4,096"),
        ("x" * 5000, "a text of 5,000 characters"),
        ("[" * 10**5, "nested more than 50 levels"),
        ("a: " + "{b: " * 10**4, "nested more than 50 levels"),
        ("- " * 10**4, "nested more than 50 levels"),
        ("[" + "1, " * 10**5 + "]", "more than 20,000 values"),
    ],
)
def test_bad_yaml_is_refused(text: str, found: str) -> None:
    with pytest.raises(UserError, match=found) as caught:
        of_yaml(text)
    assert caught.value.code == CODE


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is not JSON: Expecting value at line 1, column 1"),
        ('{"a": 1,}', "is not JSON: .* at line 1, column"),
        ('{"a": 1, "b": 2, "a": 1}', "has the key 'a' twice in one object; allowed: each key once"),
        ('[{"b": {"a": 1, "a": 2}}]', "has the key 'a' twice"),
        ("1" * 5000, "an integer of thousands of digits"),
        (json.dumps("x" * 5000), "a text of 5,000 characters"),
        (json.dumps({"x" * 5000: 1}), "a text of 5,000 characters"),
        ("[" * 51 + "]" * 51, "nested more than 50 levels"),
        ("[" * 10**5, "nested more than 50 levels"),
        ("[" + "1," * 500_001 + "1]", "more than 500,000 values"),
    ],
)
def test_bad_json_is_refused(text: str, found: str) -> None:
    with pytest.raises(UserError, match=found) as caught:
        of_json(text)
    assert caught.value.code == CODE


def test_lists_side_by_side_are_not_deep() -> None:
    assert len(of_yaml("a: [" + "[1, {b: 2}], " * 200 + "]")["a"]) == 200
    assert of_json("[" * 48 + "1" + "]" * 48)


def test_a_file_may_have_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("#" * 100)
    assert read_text(file, code=CODE, most=100) == "#" * 100
    with pytest.raises(UserError, match="has 100 bytes; allowed: at most 99"):
        read_text(file, code=CODE, most=99)
    monkeypatch.setattr(texts, "LARGEST_YAML", 99)
    with pytest.raises(UserError, match="at most 99"):
        read_yaml(file, code=CODE)


def test_binary_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a\xff")
    with pytest.raises(UserError, match="is not a text file: invalid start byte at byte 1"):
        read_text(tmp_path / "a", code=CODE)
