"""The controls: no architecture parameters at all, or logits that stay as they were drawn."""

from __future__ import annotations

import torch
from small_runs import new_strategy, small_config, small_supernet, training_stream
from torch import Tensor

from posefabric.models.net import PoseNet
from posefabric.strategies.health import entropies


def logits(net: PoseNet) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.architecture_parameters()])


def test_uniform_has_no_architecture_and_keeps_everything() -> None:
    config = small_config()
    learner = new_strategy("uniform", config)
    figures = learner.step(training_stream(config, 1)[0], None, 0)
    assert list(learner.net.architecture_parameters()) == []
    assert learner.choose(lambda _: 0.0) == small_supernet(config)
    assert {"loss", "lr"} <= set(figures)
    assert not any("entropy" in name for name in figures)
    assert entropies(learner.net) == {}


def test_randoms_logits_stay_as_drawn_while_its_weights_learn() -> None:
    config = small_config("search.weight_decay=0.5", "search.ema_decay=0.5")
    learner = new_strategy("random", config)
    drawn = logits(learner.net).clone()
    before = [parameter.detach().clone() for parameter in learner.net.weights()]
    for step, batch in enumerate(training_stream(config, 3)):
        learner.step(batch, None, step)
    assert torch.equal(logits(learner.net), drawn)
    assert any(not torch.equal(old, new) for old, new in zip(before, learner.net.weights(), strict=True))


def test_randoms_logits_depend_on_the_seed_alone() -> None:
    first, again, other = (
        logits(new_strategy("random", small_config(f"seed={seed}", *more)).net)
        for seed, more in ((0, ()), (0, ("search.lr=0.5", "backbone.fabric.base_channels=2")), (1, ()))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_randoms_logits_are_standard_normal() -> None:
    drawn = torch.cat(
        [logits(new_strategy("random", small_config(f"seed={seed}", "model.parts=8")).net) for seed in range(4)]
    )
    assert len(drawn) > 500
    assert abs(float(drawn.mean())) < 0.15
    assert abs(float(drawn.std()) - 1) < 0.15
