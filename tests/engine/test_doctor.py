"""The doctor finds what is wrong with a run folder, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import small_config, small_people, small_supernet

from posefabric.checkpoints import load_tensors, save_checkpoint, save_tensors
from posefabric.commands import doctor
from posefabric.engine.doctor import examine, machine
from posefabric.engine.search import search
from posefabric.errors import UserError
from posefabric.runs import Run


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config()
    folder = tmp_path_factory.mktemp("doctor") / "run"
    run = Run.start(folder, "search", config.data_form(), {})
    search(run, config, small_supernet(config), small_people(), small_people(6, seed=1))
    return folder


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(sound, tmp_path / "run"))


def test_a_sound_run_is_well(run: Path) -> None:
    findings = examine(run)
    assert all(finding.well for finding in findings), findings
    files = {finding.file for finding in findings}
    assert files >= {"run.json", "metrics.jsonl", "weights.safetensors", "architecture.json", "evaluation.json"}
    assert doctor(run).exit_code == 0


def spoil_weights(run: Path) -> None:
    tensors = load_tensors(run / "weights.safetensors")
    next(tensor for tensor in tensors.values() if tensor.is_floating_point()).fill_(torch.nan)
    save_tensors(run / "weights.safetensors", tensors)


def flip_a_bit(run: Path) -> None:
    file = run / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def damage_a_checkpoint(run: Path) -> None:
    save_checkpoint(run, 1, {"x": 1}, {})
    (run / "checkpoints" / "step-1" / "state.json").write_text("{}")


def leave_a_draft(run: Path) -> None:
    (run / ".weights.safetensors.tmp").write_bytes(b"half")


def leave_a_copy(run: Path) -> None:
    (run / ".rank-1").mkdir()


def lose_a_row(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[1:]))


def spoil_a_row(run: Path) -> None:
    (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text().replace('"step": 2', '"stap": 2'))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "nan": (spoil_weights, "weights.safetensors: .*not finite"),
    "bit": (flip_a_bit, "weights.safetensors: not the file that the run left"),
    "checkpoint": (damage_a_checkpoint, "checkpoints/step-1: is damaged"),
    "draft": (leave_a_draft, ".weights.safetensors.tmp: left by a process that died"),
    "copy": (leave_a_copy, ".rank-1: left by a process that died"),
    "bad row": (spoil_a_row, r"metrics.jsonl, line \d has no step; .*; to do: Restore the line, or remove it"),
    "row": (lose_a_row, "metrics.jsonl: steps are missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_the_exit_code_says_so(damage: str, run: Path) -> None:
    import re

    spoil, told = DAMAGES[damage]
    spoil(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = doctor(run)
    assert result.exit_code == 65
    assert any(re.search(told, line) for line in result.lines if line.startswith("BAD")), result.lines
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_folder_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run\.json"):
        examine(tmp_path)


def test_without_a_run_the_machine_is_described() -> None:
    findings = {finding.file: finding for finding in machine()}
    assert torch.__version__ in findings["torch"].found
    assert doctor().exit_code == 0
    assert {f"extra {name}" for name in ("video", "detect", "export", "openvino", "serve", "sweep")} <= set(findings)
