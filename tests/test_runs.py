"""The run folder: started once, opened again, refused when it is another run, and never half written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from small_runs import small_config, small_supernet

from posefabric import runs
from posefabric.config import Config
from posefabric.errors import UserError
from posefabric.locks import LOCK_FILES
from posefabric.provenance import git_state
from posefabric.runs import Run, make_folder, next_output, write_atomic

CONFIG = small_config().data_form()
DATA = {"name": "synthetic"}
RECORD: dict[str, Any] = {"format": 1, "command": "train", "config": CONFIG, "data": DATA}


def begun(path: Path, config: dict[str, Any] = CONFIG) -> Run:
    """A run that has made a step."""
    run = Run.start(path, "train", config, DATA)
    run.log({"step": 1, "split": "train", "loss": 0.5})
    return run


def files(folder: Path) -> list[str]:
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(name for name in found if name not in LOCK_FILES)


def test_a_run_records_what_it_is_made_from(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "deep" / "run", "train", CONFIG, DATA)
    record = json.loads((run.path / "run.json").read_text())
    assert {
        "command": "train",
        "config": CONFIG,
        "data": DATA,
        "state": "running",
        "format": 1,
    }.items() <= record.items()
    assert {"python", "torch", "posefabric"} <= record["versions"].keys()
    assert record["git"] == git_state()
    assert run.config == Config.model_validate(CONFIG)
    assert not run.finished


def test_a_run_opens_again_with_its_notes(tmp_path: Path) -> None:
    begun(tmp_path / "run").note(seconds=2.5, used=["a"])
    again = Run.start(tmp_path / "run", "train", CONFIG, DATA)
    assert again.record["used"] == ["a"]
    (tmp_path / "run" / "checkpoints").mkdir()
    again.finish()
    finished = Run.start(tmp_path / "run", "train", CONFIG, DATA)
    assert finished.finished
    assert finished.record["seconds"] == 2.5
    assert files(tmp_path / "run") == ["metrics.jsonl", "run.json"]


@pytest.mark.parametrize("finished", [False, True])
def test_another_run_is_refused_with_the_difference(tmp_path: Path, finished: bool) -> None:
    run = begun(tmp_path / "run")
    if finished:
        run.finish()
    before = (tmp_path / "run" / "run.json").read_bytes()
    other = small_config("seed=7", "train.lr=0.125").data_form()
    with pytest.raises(UserError) as caught:
        Run.start(tmp_path / "run", "train", other, DATA)
    assert caught.value.code == "run-differs"
    lines = caught.value.given.splitlines()
    assert str(tmp_path / "run") in lines[0]
    assert sorted(line.replace(" ", "") for line in lines[1:]) == sorted(
        ['-"seed":0,', '+"seed":7,', f'-"lr":{CONFIG["train"]["lr"]},', '+"lr":0.125,']
    )
    assert (tmp_path / "run" / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("command", "data", "shown"), [("search", DATA, '"command": "search"'), ("train", {"name": "x"}, '"name": "x"')]
)
def test_another_command_or_other_data_are_another_run(
    tmp_path: Path, command: str, data: dict[str, str], shown: str
) -> None:
    begun(tmp_path / "run")
    with pytest.raises(UserError, match=shown) as caught:
        Run.start(tmp_path / "run", command, CONFIG, data)
    assert caught.value.code == "run-differs"


def test_a_run_goes_on_with_other_workers_and_keeps_its_record(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    other = small_config("data.num_workers=2", "data.in_memory=false").data_form()
    assert other != CONFIG
    assert Run.start(tmp_path / "run", "train", other, DATA).record == run.record


def test_a_run_that_stopped_before_its_first_step_is_begun_anew(tmp_path: Path) -> None:
    Run.start(tmp_path / "run", "search", CONFIG, DATA)
    other = small_config("seed=7")
    assert Run.start(tmp_path / "run", "train", other.data_form(), DATA).config == other
    assert Run(tmp_path / "run").record["command"] == "train"


def test_a_folder_that_is_no_run_is_neither_opened_nor_written_into(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(UserError, match=r"no run\.json") as caught:
        Run(tmp_path)
    assert caught.value.code == "bad-run"
    with pytest.raises(UserError, match="is no run folder") as caught:
        Run.start(tmp_path, "train", CONFIG, DATA)
    assert caught.value.code == "run-differs"
    assert files(tmp_path) == ["letter.txt"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x80"])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"run\.json") as caught:
        Run(tmp_path)
    assert caught.value.code == "bad-run"


@pytest.mark.parametrize("config", [None, {"sed": 1}, {"seed": "one"}, {"seed": True}])
def test_a_damaged_configuration_is_named(tmp_path: Path, config: Any) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RECORD | {"config": config}))
    with pytest.raises(UserError, match=r"run\.json: config") as caught:
        _ = Run(tmp_path).config
    assert caught.value.code == "bad-run"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": 2}, "format: Input should be 1 (given 2)"),
        ({"command": ["rm"]}, "command: Input should be a valid string"),
        ({"data": "synthetic"}, "data: Input should be"),
        ({"place": {"data": 1}}, "place.data: Input should be an instance of str"),
        ({"derived": "../../../x"}, "derived: String should match pattern"),
        ({"derived": "a/b"}, "derived: String should match pattern"),
        ({"sha256": []}, "sha256: Input should be"),
        ({"visible_threshold": "all"}, "visible_threshold: Input should be a valid number"),
        ({"state": "done"}, "state: Input should be 'running' or 'finished'"),
    ],
)
def test_what_others_rely_on_has_its_type(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    assert Run(tmp_path).record == RECORD
    (tmp_path / "run.json").write_text(json.dumps(RECORD | change))
    with pytest.raises(UserError) as caught:
        Run(tmp_path)
    assert caught.value.code == "bad-run"
    assert named in str(caught.value)


@pytest.mark.parametrize("row", ["{}", '{"step": "1"}', '{"step": true}', "1", '{"step": 1, "step": 2}'])
def test_a_row_has_a_step(row: str, tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2") as caught:
        run.rows()
    assert caught.value.code == "bad-run"
    assert "remove it" in caught.value.todo


def test_a_run_whose_rows_are_lost_keeps_its_checkpoints(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    (run.path / "checkpoints" / "step-12").mkdir(parents=True)
    (run.path / "metrics.jsonl").unlink()
    run.note(derived="argmax")
    again = Run.start(run.path, "train", CONFIG, DATA)
    assert again.record["derived"] == "argmax"
    assert (run.path / "checkpoints" / "step-12").is_dir()


def test_who_holds_a_run_sees_what_was_noted_last(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    late = Run(run.path)
    run.note(derived="argmax")
    late.hold()
    late.note(visible_threshold=0.5)
    assert Run(run.path).record["derived"] == "argmax"


def test_rows_are_cut_back_to_a_step(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "train", CONFIG, DATA)
    assert run.rows() == []
    rows = [{"step": step, "split": split, "x": 0.1 * step} for step in (1, 2, 3) for split in ("train", "val")]
    for row in rows:
        run.log(row)
    assert run.rows() == rows
    run.cut_rows(2)
    assert run.rows() == rows[:4]
    run.cut_rows(0)
    assert run.rows() == []


def test_a_row_that_a_crash_cut_short_is_no_row(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "spl')
    assert [row["step"] for row in run.rows()] == [1]
    run.cut_rows(1)
    run.log({"step": 2})
    assert [row["step"] for row in run.rows()] == [1, 2]


def test_architectures_and_figures_come_back(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "train", CONFIG, DATA)
    described = small_supernet(small_config())
    run.save_architecture(described)
    run.save_architecture(described, "architectures/all.json")
    assert run.architecture() == run.architecture("architectures/all.json") == described
    assert run.figures() == {}
    run.save_figures({"AP": 0.1})
    assert run.figures() == {"AP": 0.1}


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_failed_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    file = tmp_path / "file.json"
    write_atomic(file, "old")

    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(UserError, match=r"cannot write .*file\.json: Input/output error") as caught:
        write_atomic(file, "new")
    assert caught.value.code == "not-writable"
    assert file.read_text() == "old"
    assert files(tmp_path) == ["file.json"]


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    for content in ("a long first text", "short", b"\xff\x00"):
        write_atomic(file, content)
        assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert files(tmp_path) == ["file.json"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write") as caught:
        make_folder(tmp_path / "file" / "below")
    assert caught.value.code == "not-writable"


def test_new_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_output("train") == Path("runs/train-1")
    for name in ("train-1", "train-9", "train-10", "train-x", "search-40"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert next_output("train") == Path("runs/train-11")


def test_git_state_is_empty_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() == {}
    monkeypatch.setenv("PATH", "")
    assert git_state() == {}


def test_run_folders_need_no_torch() -> None:
    assert "torch" not in vars(runs)
