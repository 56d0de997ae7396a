"""How weights learn: rates at points computed by hand, decay where it belongs, averages, clipping, divergence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from small_runs import cpu_engine, same_state, small_config, small_supernet, training_stream
from torch import Tensor, nn

from posefabric import heatmaps
from posefabric.checkpoints import latest_checkpoint, save_checkpoint
from posefabric.config import Config
from posefabric.engine.loop import build_engine
from posefabric.errors import UserError
from posefabric.models.net import PoseNet
from posefabric.optimization import WeightLearner, heatmap_objective, learning_rate, weight_groups
from posefabric.settings import Optimization


def new_learner(config: Config, num_steps: int = 10) -> WeightLearner:
    torch.manual_seed(config.seed)
    return WeightLearner(cpu_engine(), PoseNet(small_supernet(config)), config, config.train, num_steps)


def parameters(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


@pytest.mark.parametrize(
    ("settings", "step", "rate"),
    [
        (Optimization(lr=2, schedule="constant"), 99, 2),
        (Optimization(lr=2, schedule="cosine"), 0, 2),
        (Optimization(lr=2, schedule="cosine"), 25, 1 + math.sqrt(0.5)),
        (Optimization(lr=2, schedule="cosine"), 50, 1),
        (Optimization(lr=2, schedule="cosine"), 75, 1 - math.sqrt(0.5)),
        (Optimization(lr=2, schedule="steps", milestones=(0.45, 0.6, 0.75), gamma=0.5), 44, 2),
        (Optimization(lr=2, schedule="steps", milestones=(0.45, 0.6, 0.75), gamma=0.5), 45, 1),
        (Optimization(lr=2, schedule="steps", milestones=(0.45, 0.6, 0.75), gamma=0.5), 60, 0.5),
        (Optimization(lr=2, schedule="steps", milestones=(0.45, 0.6, 0.75), gamma=0.5), 99, 0.25),
        (Optimization(lr=2, schedule="steps", milestones=()), 99, 2),
        (Optimization(lr=2, schedule="constant", warmup=0.2), 0, 0.1),
        (Optimization(lr=2, schedule="constant", warmup=0.2), 9, 1),
        (Optimization(lr=2, schedule="constant", warmup=0.2), 19, 2),
        (Optimization(lr=2, schedule="cosine", warmup=0.2), 20, 2),
        (Optimization(lr=2, schedule="cosine", warmup=0.2), 60, 1),
        (Optimization(lr=2, schedule="cosine", warmup=1.0), 99, 2),
    ],
)
def test_the_rate_of_a_hundred_steps(settings: Optimization, step: int, rate: float) -> None:
    assert learning_rate(settings, step, 100) == pytest.approx(rate)


@pytest.mark.parametrize("schedule", ["cosine", "steps"])
def test_the_rate_never_rises_after_warming_up_and_stays_above_zero(schedule: str) -> None:
    settings = Optimization(schedule=schedule, warmup=0.07, lr=1)  # type: ignore[arg-type]
    for num_steps in (1, 2, 7, 30):
        rates = [learning_rate(settings, step, num_steps) for step in range(num_steps)]
        warm = math.ceil(0.07 * num_steps)
        assert rates[warm:] == sorted(rates[warm:], reverse=True)
        assert 0 < min(rates) <= max(rates) <= 1


def test_only_kernels_and_matrices_decay() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    decaying, others = weight_groups(net.parameters(), 0.1)
    assert decaying == {"params": [net[0].weight, net[2].weight], "weight_decay": 0.1}
    assert others["weight_decay"] == 0
    assert {id(p) for p in others["params"]} == {id(net[0].bias), id(net[1].weight), id(net[1].bias), id(net[2].bias)}


def test_the_learner_decays_kernels_and_leaves_norms_alone() -> None:
    """Under a rate of 1 and a decay of 1, a decaying weight is all gone but for Adam's step, of length 1."""
    config = small_config("train.lr=1", "train.weight_decay=1", "train.schedule=constant")
    learner = new_learner(config)
    names = [name for name, _ in learner.bare_net.named_parameters()]
    before = parameters(learner.bare_net)
    learner.step(training_stream(config, 1)[0], 0)
    for name, old, new in zip(names, before, parameters(learner.bare_net), strict=True):
        assert (new - (0 if old.ndim > 1 else old)).abs().max() <= 1 + 1e-4, name


def test_the_objective_is_the_loss_of_the_heatmaps() -> None:
    config = small_config()
    net = PoseNet(small_supernet(config)).eval()
    batch = training_stream(config, 1)[0]
    with torch.no_grad():
        target, weights = heatmaps.encode(batch.keypoints_xy, batch.visibility, (64, 64), (16, 16), sigma_px=1.5)
        expected = (0.5 * (net(batch.images) - target).square().mean(dim=(2, 3)) * weights).mean()
        assert heatmap_objective(net, batch, 1.5).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_moving_average_is_the_net_to_keep() -> None:
    config = small_config("train.ema_decay=0.75", "train.lr=1e-2", "train.schedule=constant")
    learner = new_learner(config)
    expected: list[Tensor] = []
    for step, batch in enumerate(training_stream(config, 4)):
        learner.step(batch, step)
        now = parameters(learner.bare_net)
        expected = [0.75 * old + 0.25 * new for old, new in zip(expected, now, strict=True)] if step else now
    assert learner.best_net is not learner.bare_net
    for average, value in zip(parameters(learner.best_net), expected, strict=True):
        torch.testing.assert_close(average, value)
    assert new_learner(small_config()).best_net is not learner.best_net


def test_without_an_average_the_net_itself_is_kept() -> None:
    learner = new_learner(small_config())
    assert learner.best_net is learner.bare_net


def test_clipping_bounds_the_gradient() -> None:
    """All gradients together have the clipping's norm, in the direction they had without it."""
    gradients = []
    for clip_norm in (0, 1e-3):
        config = small_config(f"train.clip_norm={clip_norm}")
        learner = new_learner(config)
        learner.step(training_stream(config, 1)[0], 0)
        gradients.append(torch.cat([p.grad.flatten() for p in learner.bare_net.parameters() if p.grad is not None]))
    free, clipped = gradients
    assert float(free.norm()) > 1e-3
    assert float(clipped.norm()) == pytest.approx(1e-3, rel=1e-2)
    assert float(torch.cosine_similarity(free, clipped, dim=0)) == pytest.approx(1, rel=1e-4)


def test_a_step_reports_its_loss_and_rate() -> None:
    config = small_config("train.schedule=cosine", "train.lr=2e-3")
    learner = new_learner(config, num_steps=4)
    rates = [learner.step(batch, step) for step, batch in enumerate(training_stream(config, 4))]
    assert [figures["lr"] for figures in rates] == [learning_rate(config.train, step, 4) for step in range(4)]
    assert all(math.isfinite(figures["loss"]) and figures["loss"] > 0 for figures in rates)


def test_divergence_is_told_on_its_step_before_the_weights_move() -> None:
    config = small_config()
    learner = new_learner(config)
    good, bad = training_stream(config, 2)
    learner.step(good, 0)
    before = parameters(learner.bare_net)
    bad.images[1, 2, 3, 4] = torch.nan
    with pytest.raises(UserError, match="the loss of step 1 is nan") as caught:
        learner.step(bad, 1)
    assert caught.value.code == "diverged"
    assert caught.value.exit_code == 65
    assert all(torch.equal(old, new) for old, new in zip(before, parameters(learner.bare_net), strict=True))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_learner_resumes_exactly_from_a_checkpoint(tmp_path: Path, optimizer: str) -> None:
    config = small_config(f"train.optimizer={optimizer}", "train.ema_decay=0.5", "train.weight_decay=0.1")
    batches = training_stream(config, 4)
    whole = new_learner(config)
    for step in range(2):
        whole.step(batches[step], step)
    save_checkpoint(tmp_path, 2, whole.state_dict(), {})
    saved = latest_checkpoint(tmp_path)
    assert saved is not None
    resumed = new_learner(small_config("seed=9", f"train.optimizer={optimizer}", "train.ema_decay=0.5"))
    resumed.load_state_dict(saved[1])
    for step in range(2, 4):
        whole.step(batches[step], step)
        resumed.step(batches[step], step)
    assert same_state(whole.state_dict(), resumed.state_dict())


def test_bf16_learns_and_keeps_its_weights_in_float32() -> None:
    config = small_config()
    net = PoseNet(small_supernet(config))
    learner = WeightLearner(build_engine(config, "bf16-mixed"), net, config, config.train, 10)
    batch = training_stream(config, 1)[0]
    losses = [learner.step(batch, step)["loss"] for step in range(10)]
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in learner.bare_net.parameters()} == {torch.float32}
