"""The wheel: what it holds, and that it works away from the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (file,) = folder.glob("*.whl")
    return file


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = f"posefabric-{PROJECT['version']}.dist-info"
    files = [path for path in (ROOT / "posefabric").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {name for name in names if not name.startswith(info)} == {str(path.relative_to(ROOT)) for path in files}
    assert {"posefabric/py.typed", f"{info}/licenses/LICENSE", f"{info}/entry_points.txt"} <= names


def test_installed_wheel_imports_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        target,
        wheel,
        cwd=tmp_path,
    )
    code = f"""
import sys; sys.path.insert(0, {str(target)!r})
import importlib.metadata, json, posefabric.skeletons
print(json.dumps([posefabric.__file__, importlib.metadata.version("posefabric")]))
"""
    file, version = json.loads(run(sys.executable, "-I", "-c", code, cwd=tmp_path))
    assert Path(file) == target / "posefabric" / "__init__.py"
    assert version == PROJECT["version"]


def test_citation_names_this_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {PROJECT['version']}" in lines
