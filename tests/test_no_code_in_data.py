"""Nothing that the package reads can run code: no eval, exec, pickle or unsafe YAML in it, by its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import posefabric

PACKAGE = Path(posefabric.__file__).parent

FORBIDDEN_IMPORTS = {"pickle", "_pickle", "cPickle", "copyreg", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_IMPORTS |= {"code", "codeop", "runpy", "imp", "pty", "jinja2", "omegaconf", "logging.config"}
"""Modules that run what they read, or help to."""

FORBIDDEN = {"eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile"}
FORBIDDEN |= {"os.system", "os.popen", "os.startfile", "subprocess.getoutput", "subprocess.getstatusoutput"}
FORBIDDEN |= {f"os.{kind}{how}" for kind in ("exec", "spawn") for how in ("l", "le", "lp", "v", "ve", "vp", "vpe")}
FORBIDDEN |= {f"yaml.{name}{rest}" for name in ("load", "full_load", "unsafe_load") for rest in ("", "_all")}
FORBIDDEN |= {f"yaml.{kind}Loader" for kind in ("", "C", "Unsafe", "CUnsafe", "Full", "CFull")}
FORBIDDEN |= {"torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"}
FORBIDDEN |= {"torch.serialization.add_safe_globals", "torch.serialization.safe_globals"}
FORBIDDEN |= {"pandas.read_pickle", "pydoc.locate", "pkgutil.resolve_name", "types.FunctionType", "types.CodeType"}
"""What may not be named, whether it is called or handed on."""

ONLY_WITH = {"torch.load": ("weights_only", "True"), "numpy.load": ("allow_pickle", "False")}
"""What may be called with an option alone."""

OUR_OWN_NAMES = {"__init__.py"}
"""Modules that import others of the package by name, lazily: their names stand in the module itself."""


def problems(tree: ast.AST, module: str = "") -> Iterator[str]:
    """What of a module could run code that it reads."""
    meant = dict(_imported(tree))
    for name in meant.values():
        if {name, name.split(".")[0]} & FORBIDDEN_IMPORTS:
            yield f"imports {name}"
        if name in FORBIDDEN:
            yield f"names {name}"
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and (name := _full_name(node, meant)) in FORBIDDEN:
            yield f"names {name}"
        if isinstance(node, ast.Call):
            yield from _of_call(node, _full_name(node.func, meant), module)


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that imports bind, and what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
                yield f"import {alias.name}", alias.name
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _full_name(node: ast.expr, meant: dict[str, str]) -> str:
    """`np.load` as `numpy.load`."""
    first, dot, rest = ast.unparse(node).partition(".")
    return meant.get(first, first) + dot + rest


def _of_call(call: ast.Call, called: str, module: str) -> Iterator[str]:
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    option, value = ONLY_WITH.get(called, (None, None))
    if option and options.get(option) != value:
        yield f"calls {called} without {option}={value}"
    if options.get("shell", "False") != "False":
        yield f"calls {called} with a shell"
    if options.get("allow_pickle", "False") != "False" or options.get("weights_only", "True") != "True":
        yield f"calls {called} so that it unpickles"
    if called == "importlib.import_module" and module not in OUR_OWN_NAMES:
        yield "imports by name"
    method = call.func if isinstance(call.func, ast.Attribute) else None
    if method and method.attr in ("format", "format_map") and not isinstance(method.value, ast.Constant):
        yield "formats by a text that it did not write"


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_cannot_run_what_it_reads(module: Path) -> None:
    name = str(module.relative_to(PACKAGE))
    assert list(problems(ast.parse(module.read_text(encoding="utf-8")), name)) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("eval(text)", "names eval"),
        ("run = exec", "names exec"),
        ("import builtins; builtins.eval(text)", "names builtins.eval"),
        ("from builtins import eval as read", "names builtins.eval"),
        ("import pickle", "imports pickle"),
        ("from pickle import loads", "imports pickle.loads"),
        ("import logging.config", "imports logging.config"),
        ("import yaml; yaml.load(file)", "names yaml.load"),
        ("from yaml import load as read; read(file)", "names yaml.load"),
        ("import yaml; yaml.parse(file, Loader=yaml.UnsafeLoader)", "names yaml.UnsafeLoader"),
        ("import torch; torch.load(path)", "calls torch.load without weights_only=True"),
        ("from torch import load; load(path)", "calls torch.load without weights_only=True"),
        ("import torch as t; t.load(path, weights_only=False)", "calls torch.load without weights_only=True"),
        ("import torch; torch.jit.load(path)", "names torch.jit.load"),
        ("timm.load_checkpoint(net, path, weights_only=safe)", "calls timm.load_checkpoint so that it unpickles"),
        ("import numpy as np; np.load(path)", "calls numpy.load without allow_pickle=False"),
        ("import os; os.execv(path, [])", "names os.execv"),
        ("from os import system", "names os.system"),
        ("import subprocess; subprocess.run(line, shell=True)", "calls subprocess.run with a shell"),
        ("import importlib; importlib.import_module(name)", "imports by name"),
        ("text.format(net=net)", "formats by a text that it did not write"),
    ],
)
def test_the_test_sees_what_it_forbids(source: str, found: str) -> None:
    assert found in list(problems(ast.parse(source)))


def test_the_test_allows_what_is_safe() -> None:
    safe = "import torch, yaml; torch.load(path, weights_only=True); np.load(path, allow_pickle=False); net.eval()"
    assert list(problems(ast.parse(safe + "; '{}'.format(1); yaml.parse(text, Loader=yaml.SafeLoader)"))) == []
