"""A whole experiment on tiny nets: undisturbed, and by two workers of whom one is killed in the middle of a search."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small_runs import TINY

import posefabric
from posefabric.errors import UserError
from posefabric.models.cost import count
from posefabric.runs import Run

SPEC = f"""
recipe: smoke
data: synthetic
set: {json.dumps([*TINY, "model.parts=3", "search.epochs=3"])}
budget: 100%
seeds: [0]
heartbeat_s: 1
grace_s: 3
arms:
  A: {{kind: searched, derive: argmax, set: [search.max_inputs=1]}}
  C: {{kind: permuted}}
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("experiment") / "tiny.yaml"
    file.write_text(SPEC)
    return file


@pytest.fixture(scope="module")
def undisturbed(spec: Path) -> dict[str, Any]:
    """The table of the experiment by one worker, in this process."""
    return dict(posefabric.experiment_run(spec, output=spec.parent / "alone").figures)


def worker(command: str, spec: Path, folder: Path) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "posefabric", "experiment", command, str(spec), "--output", str(folder), "--json"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def timeless(table: dict[str, Any]) -> dict[str, Any]:
    """The table without hours."""
    arms = {name: {key: row[key] for key in row if key != "hours"} for name, row in table["arms"].items()}
    kept = ("metric", "split", "contrasts", "rankings", "detectable", "missing")
    return {"arms": arms, **{key: table[key] for key in kept}}


def test_a_killed_worker_is_replaced_and_the_table_is_the_same(spec: Path, undisturbed: dict[str, Any]) -> None:
    folder = spec.parent / "disturbed"
    search = folder / "trials" / "A" / "seed0" / "search"
    first = worker("run", spec, folder)
    wait_for((folder / "experiment.json").is_file, first)
    second = worker("work", spec, folder)
    wait_for(lambda: any(search.glob("checkpoints/step-[1-9]*")), first)
    assert Run(search).record["state"] == "running"
    killed, other = (first, second) if _works_at(folder, first, "A/seed0/search") else (second, first)
    os.killpg(killed.pid, signal.SIGKILL)
    out, err = other.communicate(timeout=200)
    assert other.returncode == 0, err
    assert "resuming at step" in err
    steps = [row["step"] for row in Run(search).rows() if row["split"] == "train"]
    assert steps == list(range(1, len(steps) + 1))
    table = json.loads(out)
    assert table["missing"] == {}
    assert timeless(table) == timeless(undisturbed)
    assert table["failed_hours"] > 0
    assert undisturbed["failed_hours"] == 0


def _works_at(folder: Path, process: subprocess.Popen[str], unit: str) -> bool:
    import optuna

    trials = optuna.load_study(study_name="tiny", storage=f"sqlite:///{folder}/study.db").get_trials()
    (trial,) = [trial for trial in trials if trial.user_attrs["unit"] == unit]
    return str(trial.user_attrs["worker"]).endswith(f":{process.pid}")


def test_all_arms_cost_the_same_and_are_what_they_say(spec: Path, undisturbed: dict[str, Any]) -> None:
    trials = spec.parent / "alone" / "trials"
    nets = {arm: Run(trials / arm / "seed0" / "train0").architecture() for arm in "AC"}
    macs = [count(net).macs for net in nets.values()]
    assert min(macs) >= 0.98 * max(macs)
    assert [undisturbed["arms"][arm]["macs"][0] for arm in "AC"] == macs
    parts = list(nets["A"].partition)
    givers = [[other for other in parts if nets["A"].genotypes[other] == nets["C"].genotypes[part]] for part in parts]
    assert all(giver != [part] for part, giver in zip(parts, givers, strict=True))
    assert sorted(map(str, nets["C"].genotypes.values())) == sorted(map(str, nets["A"].genotypes.values()))


def test_a_finished_experiment_is_not_repeated(spec: Path, undisturbed: dict[str, Any]) -> None:
    before = {file: file.stat().st_mtime_ns for file in (spec.parent / "alone" / "trials").rglob("run.json")}
    again = posefabric.experiment_run(spec, output=spec.parent / "alone")
    assert again.figures == undisturbed
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert again.output == spec.parent / "alone" / "experiment.html"
    assert posefabric.experiment_table(spec, output=spec.parent / "alone").figures == undisturbed


def test_only_what_was_begun_can_be_joined(spec: Path, tmp_path: Path) -> None:
    for command in (posefabric.experiment_work, posefabric.experiment_table):
        with pytest.raises(UserError, match="holds no experiment 'tiny'"):
            command(spec, output=tmp_path)
