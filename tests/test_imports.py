"""What can be imported without torch: the descriptions, and the command line until a command needs a net."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
TORCH_FREE = [
    module
    for contract in PYPROJECT["tool"]["importlinter"]["contracts"]
    if contract["type"] == "forbidden" and "torch" in contract["forbidden_modules"]
    for module in contract["source_modules"]
]
HEAVY = ("torch", "torchvision", "timm", "lightning_fabric")


def heavy_modules_after(code: str) -> list[str]:
    """The modules of `HEAVY` that a fresh interpreter holds after running `code`."""
    report = f"import sys; print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1].split()


def test_the_probe_sees_torch() -> None:
    assert heavy_modules_after("import posefabric.heatmaps") == ["torch"]


@pytest.mark.parametrize("module", ["posefabric", *TORCH_FREE])
def test_import_leaves_torch_out(module: str) -> None:
    assert heavy_modules_after(f"import {module}") == []


def test_help_leaves_torch_out() -> None:
    code = """
import sys
from posefabric.cli import main
sys.argv = ["posefabric", "--help"]
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
"""
    assert heavy_modules_after(code) == []
