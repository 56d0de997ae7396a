"""Whatever fails while a checkpoint is written, the old or the new one loads; damage is always noticed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from faults.damage import flip_a_bit
from faults.failing import ERRORS, faults
from small_runs import same_state

from posefabric.checkpoints import KEPT, latest_checkpoint, remove_strays, save_checkpoint
from posefabric.errors import UserError
from posefabric.runs import Run, write_atomic

CONFIG = {"seed": 1}


def state(step: int) -> dict[str, Any]:
    return {"net": {"weight": torch.full((3, 5), float(step))}, "step": step, "rates": [0.1 * step, None]}


def save(run: Path, step: int) -> None:
    save_checkpoint(run, step, state(step), {"config": CONFIG})


def saved_calls(run: Path) -> int:
    with faults(0, 0) as plan:
        save(run, KEPT + 1)
    return plan.count


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("error", ERRORS)
def test_every_call_of_the_writer_may_fail(tmp_path: Path, error: int, lasting: bool) -> None:
    """One after the other, once or from there on: the old or the new checkpoint loads, and the next save works."""
    before = tmp_path / "before"
    for step in range(1, KEPT + 1):
        save(before, step)
    shutil.copytree(before, tmp_path / "counted")
    calls = saved_calls(tmp_path / "counted")
    assert calls > 10
    for number in range(1, calls + 1):
        run = tmp_path / f"run{number}"
        shutil.copytree(before, run)
        told = None
        with faults(number, error, lasting=lasting):
            try:
                save(run, KEPT + 1)
            except UserError as found:
                told = found
        if told is not None:
            assert told.code == ("disk-full" if error == errno.ENOSPC else "not-writable")
            assert str(run) in told.given
        found = latest_checkpoint(run, CONFIG)
        assert found is not None
        step, loaded = found
        assert step in ((KEPT, KEPT + 1) if told is not None else (KEPT + 1,))
        assert same_state(loaded, state(step))
        remove_strays(run)
        save(run, KEPT + 2)
        assert same_state(latest_checkpoint(run, CONFIG), (KEPT + 2, state(KEPT + 2)))
        assert not list(run.rglob(".*.tmp"))
        shutil.rmtree(run)


def test_a_full_disk_says_what_is_needed_and_free_and_where(tmp_path: Path) -> None:
    with faults(2, errno.ENOSPC), pytest.raises(UserError, match=r"2\.0 MB are needed, .* MB are free in") as caught:
        write_atomic(tmp_path / "weights.bin", bytes(2_000_000))
    assert caught.value.code == "disk-full"
    assert caught.value.exit_code == 74
    assert str(tmp_path) in caught.value.given
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("sound")
    for step in (1, 2):
        save(run, step)
    return run


FILES = ("state.json", "state.safetensors", "manifest.json")


def test_two_hundred_flipped_bits_are_all_noticed(
    sound: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(0)
    for trial in range(200):
        run = Path(shutil.copytree(sound, tmp_path / str(trial)))
        flip_a_bit(run / "checkpoints" / "step-2" / FILES[trial % 3], chance)
        caplog.clear()
        found = latest_checkpoint(run, CONFIG)
        assert found is not None
        assert same_state(found, (1, state(1)))
        assert "going back to step 1: 1 steps are lost" in caplog.text


def test_files_cut_at_sixty_four_lengths_are_all_noticed(sound: Path, tmp_path: Path) -> None:
    for file in FILES:
        content = (sound / "checkpoints" / "step-2" / file).read_bytes()
        for part in range(64):
            run = Path(shutil.copytree(sound, tmp_path / f"{file}{part}"))
            (run / "checkpoints" / "step-2" / file).write_bytes(content[: len(content) * part // 64])
            assert same_state(latest_checkpoint(run, CONFIG), (1, state(1)))


@pytest.mark.parametrize(("key", "value", "told"), [("config", {"seed": 2}, "belongs to another run")])
def test_the_checkpoint_of_another_run_is_passed_over(
    sound: Path, key: str, value: Any, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert latest_checkpoint(sound, value) is None
    assert told in caplog.text
    assert "no checkpoint is whole: the run begins anew, 2 steps are lost" in caplog.text


def test_a_checkpoint_of_a_future_version_is_passed_over_and_says_so(
    sound: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posefabric.checkpoints.FORMAT", 99)
    save(tmp_path, 1)
    monkeypatch.undo()
    assert latest_checkpoint(tmp_path, CONFIG) is None
    assert "has format 99, this version reads 1" in caplog.text


def _start(folder: Path, number: int, barrier: Any, results: Any) -> None:
    barrier.wait()
    began = time.monotonic()
    try:
        run = Run.start(folder / f"race{number}", "train", CONFIG, {})
    except UserError as error:
        results.put((number, error.code, error.given, time.monotonic() - began))
    else:
        results.put((number, "won", str(os.getpid()), 0.0))
        barrier.wait()  # nobody lets go before all have tried
        del run
        return
    barrier.wait()


def _racer(folder: Path, races: int, barrier: Any, results: Any) -> None:
    for number in range(races):
        _start(folder, number, barrier, results)


def test_of_two_processes_that_start_at_once_one_wins(tmp_path: Path) -> None:
    """Fifty races; the other refuses within a second and names the winner."""
    races, context = 50, multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_racer, args=(tmp_path, races, barrier, results)) for _ in range(2)]
    for racer in racers:
        racer.start()
    found = [results.get(timeout=60) for _ in range(2 * races)]
    for racer in racers:
        racer.join()
    for number in range(races):
        (_, lost, told, took), (_, won, winner, _) = sorted(row for row in found if row[0] == number)
        assert (lost, won) == ("run-busy", "won")
        assert f"is being written by process {winner} on {socket.gethostname()}" in told
        assert took < 1
