"""Every code that the package uses is known, and every known code is documented."""

from __future__ import annotations

import ast
import importlib.util
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from posefabric.errors import CODES, UserError, suggestion, unknown_name

ROOT = Path(__file__).parents[1]


def codes_of_call(call: ast.Call) -> Iterator[str]:
    """The literal codes of one call: `UserError("code", ...)` and `anything(..., code="code")`."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    function = call.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    for value in [*call.args[:1], *named] if name == "UserError" else named:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value


def codes_in(source: str) -> set[str]:
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {code for call in calls for code in codes_of_call(call)}


def errors_page() -> str:
    spec = importlib.util.spec_from_file_location("errors_page", ROOT / "tools" / "errors_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.errors_page())


def test_codes_are_found_in_source() -> None:
    source = """
raise UserError("a", "x")
errors.UserError(code="b", given="x")
read(path, code="c")
other("d")
UserError(code, "x")
"""
    assert codes_in(source) == {"a", "b", "c"}


@pytest.mark.parametrize("path", sorted((ROOT / "posefabric").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_codes_used_are_known(path: Path) -> None:
    assert codes_in(path.read_text(encoding="utf-8")) <= CODES.keys()


def test_every_code_exits_as_the_contract_says() -> None:
    assert {code.exit_code for code in CODES.values()} <= {2, 65, 70, 74}


def test_page_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == errors_page()
    for name, code in CODES.items():
        assert f"## {name}\n\n{code.meaning}\n" in errors_page()


def test_message_says_given_allowed_and_cure() -> None:
    error = UserError("bad-value", "--budget is '-1'", "a number above 0")
    assert isinstance(error, ValueError)
    assert str(error) == f"--budget is '-1'; allowed: a number above 0; to do: {CODES['bad-value'].cure} [bad-value]"
    assert error.exit_code == CODES["bad-value"].exit_code
    assert UserError("bad-value", "x", todo="Do that.").todo == "Do that."


def test_unknown_name_suggests_and_lists() -> None:
    error = unknown_name("operation", "sep_3x3", ("skip_connect", "sep_conv_3x3"))
    assert error.code == "unknown-name"
    assert "unknown operation 'sep_3x3'; did you mean 'sep_conv_3x3'?" in str(error)
    assert "known: skip_connect, sep_conv_3x3" in str(error)
    assert suggestion("xyz", ("skip_connect",)) == ""


def test_errors_cross_processes_whole() -> None:
    error = UserError("bad-image", "x.jpg is damaged", "a whole one", "Replace it.")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
