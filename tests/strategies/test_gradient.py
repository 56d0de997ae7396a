"""Strategies that learn alpha and beta: which batch moves what."""

from __future__ import annotations

import pytest
import torch
from small_runs import new_strategy, small_config, training_stream
from torch import Tensor

from posefabric.config import Config
from posefabric.models.net import PoseNet
from posefabric.strategies.health import entropies


def architecture(net: PoseNet) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters() if name.startswith("mixing.")}


def weights(net: PoseNet) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters() if not name.startswith("mixing.")}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def moved(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    return {name for name in first if not torch.equal(first[name], second[name])}


def after_step(config: Config, weight_batch: int, architecture_batch: int) -> PoseNet:
    """The net of a first-order search after its first step on two of the batches."""
    batches = training_stream(config, 3)
    learner = new_strategy("first-order", config)
    learner.step(batches[weight_batch], batches[architecture_batch], 0)
    return learner.net


def test_sync_moves_alpha_beta_and_weights_on_one_batch() -> None:
    config = small_config()
    learner = new_strategy("sync", config)
    before = architecture(learner.net), weights(learner.net)
    learner.step(training_stream(config, 1)[0], None, 0)
    logits = moved(before[0], architecture(learner.net))
    for kind in ("all.alpha", "all.beta", "backbone.alpha", "backbone.beta"):
        assert any(name.startswith(f"mixing.{kind}") for name in logits), kind
    assert len(moved(before[1], weights(learner.net))) > len(before[1]) / 2


def test_the_architectures_rate_is_its_own() -> None:
    """Adam's first step is as long as its rate, whatever the gradient."""
    config = small_config(
        "search.lr=1e-3", "search.architecture_lr=0.125", "search.warmup=0.5", "search.optimizer=adam"
    )
    for name, batch in (("sync", None), ("first-order", training_stream(config, 1)[0])):
        learner = new_strategy(name, config)
        figures = learner.step(training_stream(config, 1)[0], batch, 0)
        assert figures["lr"] == pytest.approx(1e-3 / 5)
        longest = max(float(logits.abs().max()) for logits in architecture(learner.net).values())
        assert longest == pytest.approx(0.125, rel=1e-3)


def test_the_architecture_learns_from_its_own_batch_only() -> None:
    config = small_config()
    alphas = architecture(after_step(config, 0, 1))
    assert equal(alphas, architecture(after_step(config, 2, 1)))
    assert not equal(alphas, architecture(after_step(config, 0, 2)))
    assert any(bool(logits.any()) for logits in alphas.values())


def test_the_weights_learn_from_their_own_batch_only() -> None:
    """At a rate that cannot move the mixture, the architecture's batch must leave no trace, in clipping neither."""
    config = small_config("search.architecture_lr=1e-30", "search.clip_norm=1e-3")
    learned = weights(after_step(config, 0, 1))
    assert equal(learned, weights(after_step(config, 0, 2)))
    assert not equal(learned, weights(after_step(config, 2, 1)))


def test_entropy_falls_from_one_as_the_mixture_decides() -> None:
    config = small_config()
    learner = new_strategy("sync", config)
    assert entropies(learner.net) == pytest.approx({"alpha_entropy": 1, "beta_entropy": 1})
    with torch.no_grad():
        for logits in learner.net.architecture_parameters():
            logits[..., 0] = 60
    assert entropies(learner.net) == pytest.approx({"alpha_entropy": 0, "beta_entropy": 0}, abs=1e-6)


@pytest.mark.parametrize("name", ["sync", "first-order"])
def test_every_step_says_how_decided_the_mixture_is(name: str) -> None:
    config = small_config()
    batch = training_stream(config, 1)[0]
    figures = new_strategy(name, config).step(batch, batch, 0)
    assert {"loss", "lr", "alpha_entropy", "beta_entropy"} <= set(figures)
    assert ("architecture_loss" in figures) == (name == "first-order")
