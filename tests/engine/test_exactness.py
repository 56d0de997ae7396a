"""A run says how exact its resumes are, and warns where it goes on elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_runs import small_config, small_supernet

from posefabric.engine.exactness import note_exactness
from posefabric.engine.loop import build_engine
from posefabric.models.net import PoseNet
from posefabric.reporting import write_report
from posefabric.runs import RESUME, Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.start(tmp_path / "run", "train", small_config().data_form(), {})


@pytest.fixture
def net() -> PoseNet:
    return PoseNet(small_supernet(small_config()))


@pytest.fixture
def restored() -> Iterator[None]:
    """What holds for the whole process is put back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


def test_on_a_cpu_a_resume_is_exact(run: Run, net: PoseNet, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        note_exactness(run, net)
    here = {"device": "cpu", "threads": torch.get_num_threads(), "torch": torch.__version__}
    assert Run(run.path).record[RESUME] == {"exact": True, **here}
    assert not caplog.text
    page = write_report([run.path], run.path / "report.html").read_text()
    assert "exact to the last bit on what it ran on (cpu" in page


def test_on_other_threads_it_is_not_and_that_stays(
    run: Run, net: PoseNet, restored: None, caplog: pytest.LogCaptureFixture
) -> None:
    note_exactness(run, net)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    note_exactness(run, net)
    assert f"resumed elsewhere (threads {threads} before, {threads + 1} now)" in caplog.text
    note_exactness(run, net)
    assert Run(run.path).record[RESUME]["exact"] is False
    page = write_report([run.path], run.path / "report.html").read_text()
    assert "equal to about 1e-5" in page


def test_deterministic_is_asked_of_torch(restored: None) -> None:
    build_engine(small_config(), "32-true")
    assert not torch.are_deterministic_algorithms_enabled()
    build_engine(small_config("deterministic=true"), "32-true")
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
