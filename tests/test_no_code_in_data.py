"""Nothing that the package reads can run code: no eval, exec, pickle or unsafe YAML in it, by its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import posefabric

PACKAGE = Path(posefabric.__file__).parent

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
FORBIDDEN_CALLS |= {"yaml.full_load", "numpy.load", "np.load"}
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "code", "runpy"}


def problems(tree: ast.AST) -> Iterator[str]:
    """What of a module could run code that it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        yield from (f"imports {name}" for name in names if name.split(".")[0] in FORBIDDEN_IMPORTS)
        if isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(call: ast.Call) -> Iterator[str]:
    called = ast.unparse(call.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if called in FORBIDDEN_CALLS and not (called.endswith(".load") and options.get("allow_pickle") == "False"):
        yield f"calls {called}"
    if called.endswith("torch.load") and options.get("weights_only") != "True":
        yield "calls torch.load without weights_only=True"
    if options.get("shell") == "True":
        yield f"calls {called} with a shell"
    if options.get("allow_pickle") == "True" or options.get("weights_only") == "False":
        yield f"calls {called} so that it unpickles"


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_cannot_run_what_it_reads(module: Path) -> None:
    assert list(problems(ast.parse(module.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("eval(text)", "calls eval"),
        ("import pickle", "imports pickle"),
        ("from pickle import loads", "imports pickle"),
        ("yaml.load(file)", "calls yaml.load"),
        ("torch.load(path)", "calls torch.load without weights_only=True"),
        ("torch.load(path, weights_only=False)", "calls torch.load without weights_only=True"),
        ("np.load(path)", "calls np.load"),
        ("subprocess.run(line, shell=True)", "calls subprocess.run with a shell"),
    ],
)
def test_the_test_sees_what_it_forbids(source: str, found: str) -> None:
    assert found in list(problems(ast.parse(source)))


def test_the_test_allows_what_is_safe() -> None:
    safe = "torch.load(path, weights_only=True); np.load(path, allow_pickle=False); net.eval()"
    assert list(problems(ast.parse(safe))) == []
