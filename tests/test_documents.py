"""Documents: equal values give equal text, and every problem is named by its dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict

from posefabric import documents
from posefabric.errors import UserError

CODE = "bad-config"


@dataclass(frozen=True)
class Leaf:
    colour: str
    size: float = 1.0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if self.size < 0:
            raise UserError(CODE, f"size is {self.size}", "0 or more")


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...] = ()
    named: Mapping[str, Leaf] = field(default_factory=dict)
    fruit: Leaf | None = None

    __pydantic_config__ = ConfigDict(extra="forbid")


leaves = st.builds(Leaf, st.text(max_size=5), st.floats(0, 1e300))
trees = st.builds(
    Tree,
    st.lists(leaves, max_size=3).map(tuple),
    st.dictionaries(st.text(max_size=5), leaves, max_size=3),
    st.none() | leaves,
)


def read(data: Any) -> Tree:
    return documents.from_data(Tree, data, code=CODE, where="tree")


@given(trees)
def test_text_and_data_give_the_value_back(tree: Tree) -> None:
    text = documents.to_json(tree)
    assert documents.from_json(Tree, text, code=CODE, where="tree") == tree
    assert read(documents.to_data(tree)) == tree
    assert documents.to_json(read(documents.to_data(tree))) == text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"leavs": []}, "tree: leavs: unknown key; did you mean 'leaves'?"),
        ({"leaves": [{"colour": "red"}, {}]}, "leaves.1.colour: "),
        ({"leaves": [{"colour": "red", "sise": 1}]}, "leaves.0.sise: unknown key; did you mean 'size'?"),
        ({"named": {"a": {"color": "red"}}}, "named.a.color: unknown key; did you mean 'colour'?"),
        ({"fruit": {"colour": "red", "siez": 1}}, "fruit.siez: unknown key; did you mean 'size'?"),
        ({"named": {"a": {"colour": 3}}}, "named.a.colour: Input should be a valid string (given 3)"),
        ({"named": {"a": {"colour": "red", "size": "1"}}}, "named.a.size: "),
        ({"named": {"a": {"colour": "red", "size": -1}}}, "named.a: size is -1.0; allowed: 0 or more"),
        ({"xyzzy": 1}, "xyzzy: unknown key;"),
        ([], "tree: "),
        ("a" * 100, "..."),
    ],
)
def test_a_problem_is_named_by_its_path(data: Any, named: str) -> None:
    with pytest.raises(UserError) as caught:
        read(data)
    assert caught.value.code == CODE
    assert named in str(caught.value)


def test_a_name_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(UserError) as caught:
        read({"xyzzy": 1})
    assert "did you mean" not in str(caught.value)


def test_every_problem_has_a_line() -> None:
    with pytest.raises(UserError) as caught:
        read({"leavs": [], "named": {"a": {"size": "big"}}, "fruit": 3})
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert lines[0] == "tree: "


@pytest.mark.parametrize("value", [{1, 2}, Path("x"), object()])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match="tree holds a value that JSON cannot express"):
        read({"leaves": value})


def test_a_document_that_holds_itself_is_refused() -> None:
    data: dict[str, Any] = {}
    data["fruit"] = data
    with pytest.raises(UserError, match="JSON cannot express"):
        read(data)


def test_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "tree.json"
    with pytest.raises(UserError, match=str(file)) as caught:
        documents.read_json(Tree, file, code=CODE)
    assert caught.value.code == "missing-file"
    with pytest.raises(UserError, match="is not a file"):
        documents.read_json(Tree, tmp_path, code=CODE)
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match="not a text file") as caught:
        documents.read_json(Tree, file, code=CODE)
    assert caught.value.code == CODE
