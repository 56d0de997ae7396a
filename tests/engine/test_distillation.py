"""Learning from a teacher: the loss in closed form, a teacher that stays as it is, runs that repeat and resume."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import (
    TINY,
    cpu_engine,
    lively_net,
    same_state,
    small_config,
    small_people,
    small_supernet,
    training_stream,
)

from posefabric import commands
from posefabric.checkpoints import load_tensors, save_tensors
from posefabric.config import Config
from posefabric.engine.distillation import Distillation, read_teacher
from posefabric.engine.train import build_net, train
from posefabric.errors import UserError
from posefabric.models.net import PoseNet
from posefabric.optimization import heatmap_objective
from posefabric.predictor import load
from posefabric.runs import SUPERNET_FILE, Run

PEOPLE = small_people(), small_people(6, seed=1)


def distillation(teacher: PoseNet, weight: float) -> Distillation:
    return Distillation(teacher, weight, cpu_engine().autocast)


def trained(folder: Path, config: Config, teacher: PoseNet | None) -> Run:
    run = Run.start(folder, "train", config.data_form(), {})
    train(run, config, build_net(small_supernet(config), config), PEOPLE, teacher)
    return run


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_tensors(run.path / "weights.safetensors")


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_the_loss_joins_labels_and_the_teachers_maps(weight: float) -> None:
    config = small_config()
    student, teacher = lively_net(config), lively_net(config, seed=1)
    (batch,) = training_stream(config, 1)
    sigma_px = config.data.sigma_px
    with torch.no_grad():
        gap = (student(batch.images) - teacher(batch.images)).square().mean() / 2
        expected = (1 - weight) * heatmap_objective(student, batch, sigma_px) + weight * gap
    torch.testing.assert_close(distillation(teacher, weight)(student, batch, sigma_px).detach(), expected)


def test_a_net_has_nothing_to_learn_from_itself() -> None:
    config = small_config()
    net = lively_net(config)
    (batch,) = training_stream(config, 1)
    loss = distillation(copy.deepcopy(net), 1.0)(net, batch, config.data.sigma_px)
    assert float(loss.detach()) == 0
    assert all(float(g.abs().max()) == 0 for g in torch.autograd.grad(loss, list(net.weights())))


def test_without_weight_training_is_bit_for_bit_what_it_was(tmp_path: Path) -> None:
    config = small_config("train.distill=0")
    alone = trained(tmp_path / "alone", config, None)
    assert same_state(weights(trained(tmp_path / "taught", config, lively_net(config, seed=1))), weights(alone))
    taught = small_config("train.distill=0.5")
    assert not same_state(weights(trained(tmp_path / "half", taught, lively_net(config, seed=1))), weights(alone))


def test_the_teacher_stays_as_it_is_and_the_net_comes_closer_to_it(tmp_path: Path) -> None:
    config = small_config("train.distill=1", "train.epochs=6", "train.lr=1e-2", "train.validate_every=6")
    teacher = lively_net(config, seed=1)
    before = copy.deepcopy(teacher.state_dict())
    run = trained(tmp_path / "run", config, teacher)
    assert same_state(teacher.state_dict(), before)
    losses = [row["loss"] for row in run.rows() if row["split"] == "train"]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config("train.distill=0.5", "train.epochs=2", "train.validate_every=1", "train.ema_decay=0.5")
    whole = trained(tmp_path / "whole", config, lively_net(config, seed=1))
    real, logged = Run.log, 0

    def log(run: Run, row: dict[str, Any], *file: str) -> None:
        nonlocal logged
        logged += 1
        if logged == 6:  # of 3 steps, their validation, 3 more: the second epoch has begun
            raise KeyboardInterrupt
        real(run, row, *file)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", log)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "run", config, lively_net(config, seed=1))
    assert (tmp_path / "run" / "checkpoints" / "step-3").is_dir()
    assert same_state(weights(trained(tmp_path / "run", config, lively_net(config, seed=1))), weights(whole))


def search_run(folder: Path, config: Config) -> Run:
    """What a search leaves for a teacher: a mixture and its weights."""
    run = Run.start(folder, "search", config.data_form(), {})
    net = lively_net(config, seed=1)
    run.save_architecture(net.architecture, SUPERNET_FILE)
    run.save_architecture(net.architecture)
    save_tensors(run.path / "weights.safetensors", net.state_dict())
    return run


def test_the_command_takes_the_mixture_of_the_run_whose_weights_are_inherited(tmp_path: Path) -> None:
    config = small_config()
    run = search_run(tmp_path / "search", config)
    settings = [*TINY, "train.distill=0.5", "train.epochs=1"]
    for name, options in (("weights", {"weights": run.path}), ("teacher", {"teacher": run.path})):
        commands.train("synthetic", run.path, recipe="smoke", set=settings, output=tmp_path / name, **options)  # type: ignore[arg-type]
        noted = Run(tmp_path / name).record["data"]["teacher"]
        files = [run.path / SUPERNET_FILE, run.path / "weights.safetensors"]
        digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        assert noted == {"name": f"search/{SUPERNET_FILE}", "sha256": digest}
    assert not same_state(weights(Run(tmp_path / "weights")), weights(Run(tmp_path / "teacher")))


def test_any_run_can_teach(tmp_path: Path) -> None:
    config = small_config()
    run = trained(tmp_path / "run", config, None)
    net, noted = read_teacher(run, small_supernet(config))
    assert same_state(net.state_dict(), load(run.path).net.state_dict())
    assert noted["name"] == "run/architecture.json"


def test_teachers_that_see_other_crops_are_refused(tmp_path: Path) -> None:
    run = search_run(tmp_path / "search", small_config())
    with pytest.raises(UserError, match="input_hw"):
        read_teacher(run, small_supernet(small_config("model.input_hw=[64,96]")))


def test_a_weight_without_a_teacher_and_a_teacher_without_weight_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = search_run(tmp_path / "search", small_config())
    with pytest.raises(UserError, match="--teacher RUN"):
        commands.train("synthetic", run.path, recipe="smoke", set=[*TINY, "train.distill=0.5"])
    settings = [*TINY, "train.epochs=1"]
    commands.train("synthetic", run.path, recipe="smoke", teacher=run.path, set=settings, output=tmp_path / "train")
    assert "--teacher is without effect" in caplog.text
    assert "teacher" not in Run(tmp_path / "train").record["data"]
