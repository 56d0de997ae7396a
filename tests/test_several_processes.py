"""Several processes under torchrun come to what one comes to, and lose nothing when one of them is lost."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from faults.parity import steps_of_all
from faults.together import all_gone, launch_together, members
from sizes import LONG
from small_runs import TINY, lively_net, small_config, training_stream
from torch import nn

from posefabric import ranks
from posefabric.engine import sharing
from posefabric.engine.loop import Plan
from posefabric.errors import UserError

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")

SETTINGS = [word for setting in (*TINY, "search.epochs=8") for word in ("--set", setting)]
SEARCH = ["posefabric", "search", "synthetic", "--recipe", "smoke", *SETTINGS, "--output", "run"]


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 4] if LONG else [2])
def test_any_number_of_processes_sees_the_same_and_learns_the_same(count: int, tmp_path: Path) -> None:
    steps = 100 if LONG else 12
    job = launch_together(count, ["faults.parity", str(steps)], tmp_path)
    alone = steps_of_all(steps)
    out, err = job.communicate(timeout=250)
    assert job.returncode == 0, err
    together = json.loads(out)
    assert together["poses"] == alone["poses"]
    assert together["validation"] == alone["validation"]
    assert (alone["one bit"], together["one bit"]) == ("", "ranks-differ")
    for name, told in alone["steps"].items():
        assert len(told["losses"]) == steps
        assert together["steps"][name]["persons"] == told["persons"]
        assert together["steps"][name]["losses"] == pytest.approx(told["losses"], rel=1e-5, abs=0), name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of two processes from start to end."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(folder)
    return folder / "run"


def finish(folder: Path) -> None:
    job = launch_together(2, SEARCH, folder)
    _, err = job.communicate(timeout=200)
    assert job.returncode == 0, err


def left(run: Path) -> dict[str, str]:
    names = ("weights.safetensors", "supernet.json", "architecture.json", "metrics.jsonl", "evaluation.json")
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}


def under_way(job: subprocess.Popen[str], run: Path, steps: int) -> list[int]:
    """The processes of a job once it has logged some steps."""
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("train") >= steps):
        assert job.poll() is None, job.communicate()[1]
        time.sleep(0.005)
    return members(job)


def test_a_signal_and_a_killed_process_end_the_job_and_cost_nothing(undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = launch_together(2, SEARCH, tmp_path)
    processes = under_way(job, run, 3)
    job.send_signal(signal.SIGTERM)
    _, err = job.communicate(timeout=15)
    assert "rank-lost" not in err, err
    assert all_gone(processes, 0.5)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    newest = max(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))
    assert newest == max(row["step"] for row in rows)

    job = launch_together(2, SEARCH, tmp_path)
    processes = under_way(job, run, newest + 4)
    os.kill(processes[1], signal.SIGKILL)
    began = time.monotonic()
    job.communicate(timeout=15)
    assert job.returncode != 0
    assert time.monotonic() - began < 15
    assert all_gone(processes, 0.5)

    finish(tmp_path)
    assert left(run) == left(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["rank", "torchrun"])
def test_a_process_that_hangs_and_a_lost_torchrun_end_the_job(victim: str, undisturbed: Path, tmp_path: Path) -> None:
    job = launch_together(2, SEARCH, tmp_path)
    processes = under_way(job, tmp_path / "run", 5)
    hit: Callable[[], None] = {
        "rank": lambda: os.kill(processes[1], signal.SIGSTOP),
        "torchrun": lambda: os.kill(job.pid, signal.SIGKILL),
    }[victim]
    hit()
    began = time.monotonic()
    job.communicate(timeout=60)
    assert all_gone(processes, 60 - (time.monotonic() - began))
    assert job.returncode != 0
    finish(tmp_path)
    assert left(tmp_path / "run") == left(undisturbed)


def test_what_works_along_is_left_alone_where_a_run_is_finished(tmp_path: Path) -> None:
    described: tuple[str, dict[str, str], dict[str, str]] = ("search", {}, {})
    folder = tmp_path / "run"
    run = sharing.start(folder, *described)
    (folder / ".rank-1").mkdir()
    sharing.start(folder, *described)
    assert sharing.copies(folder) == []
    (folder / ".rank-1").mkdir()
    run.finish()
    sharing.start(folder, *described)
    assert sharing.copies(folder) == [folder / ".rank-1"]


def test_a_batch_that_cannot_be_shared_evenly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "size", lambda: 2)
    with pytest.raises(UserError, match="batch size 3 of 2 processes together; allowed: a multiple of 2"):
        Plan.of(small_config("search.batch_size=3").search, 12)


def test_norms_that_share_their_statistics_change_nothing_else() -> None:
    config = small_config("model.fabric.width_multipliers=[0.5,1]")
    net = lively_net(config)
    state, images = net.state_dict(), training_stream(config, 1)[0].images
    expected = net(images)
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in shared.modules())
    assert shared.state_dict().keys() == state.keys()
    assert torch.equal(shared(images), expected)
