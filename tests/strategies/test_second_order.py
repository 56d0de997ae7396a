"""The hypergradient against closed forms and against autograd; the unrolled step against the optimizer's own."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import new_strategy, small_config, small_supernet, training_stream
from torch import Tensor
from torch.func import functional_call

from posefabric.models.net import PoseNet, softmax_mixings
from posefabric.optimization import heatmap_objective
from posefabric.strategies.second_order import (
    Landing,
    SecondOrder,
    Weights,
    adam_step,
    hypergradient,
    trained_weights,
)


def flat(gradients: Iterable[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 10**6), st.floats(1e-3, 1))
@settings(max_examples=25, deadline=None)
def test_the_hypergradient_of_a_quadratic_is_the_one_on_paper(seed: int, rate: float) -> None:
    """Training loss w'Aw / 2 + w'Bt and held-out loss |w - c|^2 / 2 + d't give d - (R B)'(w - R(Aw + Bt) - c)."""
    curvature, joint, aim, slope, start, theta = (
        normal(seed + i, *shape) for i, shape in enumerate([(4, 4), (4, 3), (4,), (3,), (4,), (3,)])
    )
    curvature = curvature + curvature.T
    rates = rate * normal(seed + 6, 4).abs()
    architecture = theta.clone().requires_grad_()

    def training(values: Weights) -> Tensor:
        w = torch.cat([values["a"], values["b"]])
        return w @ curvature @ w / 2 + w @ joint @ architecture

    def held_out(values: Weights) -> Tensor:
        return (torch.cat([values["a"], values["b"]]) - aim).square().sum() / 2 + slope @ architecture

    def unroll(gradient: Weights) -> Landing:
        scale = {"a": rates[:1], "b": rates[1:]}
        return Landing({name: weights[name] - scale[name] * gradient[name] for name in weights}, scale)

    weights = {"a": start[:1], "b": start[1:]}
    loss, (found,) = hypergradient(held_out, training, weights, [architecture], unroll)
    landed = start - rates * (curvature @ start + joint @ theta)
    torch.testing.assert_close(found, slope - (rates[:, None] * joint).T @ (landed - aim), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(loss.detach(), (landed - aim).square().sum() / 2 + slope @ theta)


def test_where_the_weights_have_no_pull_the_direct_gradient_is_left() -> None:
    theta = torch.ones(2, requires_grad=True)
    _, (found,) = hypergradient(
        lambda values: 3 * theta.sum() + 0 * values["w"].sum(),
        lambda values: (values["w"] * theta).sum(),
        {"w": torch.ones(2)},
        [theta],
        lambda gradient: Landing({"w": torch.ones(2)}, {"w": torch.ones(2)}),
    )
    assert torch.equal(found, torch.full((2,), 3.0))


@pytest.mark.parametrize(("channels", "error"), [(1, None), (4, 0.2)])
def test_the_hypergradient_of_a_net_is_autograds_through_the_step(channels: int, error: float | None) -> None:
    """Up to rounding where no ReLU turns within the difference; at the usual radius up to `error`, in a wider net."""
    torch.manual_seed(0)
    widths = [f"{fabric}.base_channels={channels}" for fabric in ("model.fabric", "backbone.fabric")]
    architecture = small_supernet(small_config(*widths))
    net = PoseNet(architecture, softmax_mixings(architecture)).double().train()
    for logits in net.architecture_parameters():
        torch.nn.init.normal_(logits)
    images = normal(0, 2, 2, 3, 64, 64)
    targets = normal(1, 2, 2, 17, 16, 16)
    weights = trained_weights(net)
    theta = list(net.architecture_parameters())
    rates = {name: 0.02 * torch.rand_like(weight) for name, weight in weights.items()}

    def loss(which: int, values: Weights) -> Tensor:
        scratch = {name: buffer.clone() for name, buffer in net.named_buffers()}
        maps: Tensor = functional_call(net, {**values, **scratch}, (images[which],))
        return (maps - targets[which]).square().mean()

    def unroll(gradient: Weights) -> Landing:
        return Landing({name: weights[name].detach() - rates[name] * gradient[name] for name in weights}, rates)

    slope = torch.autograd.grad(loss(0, weights), list(weights.values()), create_graph=True)
    landed = {name: weights[name] - rates[name] * g for name, g in zip(weights, slope, strict=True)}
    exact = torch.autograd.grad(loss(1, landed), theta)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    _, found = hypergradient(lambda w: loss(1, w), lambda w: loss(0, w), weights, theta, unroll, radius=1e-8)
    _, usual = hypergradient(lambda w: loss(1, w), lambda w: loss(0, w), weights, theta, unroll)
    direct = torch.autograd.grad(loss(1, {name: w.detach() for name, w in landed.items()}), theta)

    indirect = (flat(exact) - flat(direct)).norm()
    assert indirect > 1e-3 * flat(exact).norm(), "the second-order part must be visible"
    assert (flat(found) - flat(exact)).norm() < 1e-5 * indirect
    assert error is None or (flat(usual) - flat(exact)).norm() < error * indirect
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_the_unrolled_step_is_the_optimizers_own_where_there_is_no_momentum(optimizer: str) -> None:
    """Clipped and decayed, on the first step and on later ones."""
    more = ("search.weight_decay=0.1", "search.clip_norm=0.02", "search.schedule=constant")
    learner = new_strategy("uniform", small_config(f"search.optimizer={optimizer}", *more))._weights  # type: ignore[attr-defined]
    for group in learner.optimizer.param_groups:
        group["betas"] = (0.0, 0.999)
    for step, batch in enumerate(training_stream(small_config(), 3)):
        weights = trained_weights(learner.bare_net)
        learner.net.train()
        loss = heatmap_objective(learner.net, batch, learner.sigma_px)
        gradient = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
        landing = adam_step(learner, weights, gradient, learner.settings.lr)
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        learner.step(batch, step)
        for name, weight in weights.items():
            seen = gradient[name].abs() > 1e-6  # below, the step is the sign of rounding
            torch.testing.assert_close(landing.weights[name][seen], weight.detach()[seen], rtol=1e-4, atol=2e-5)
            moved = (landing.weights[name] - before[name]).abs().max()
            assert moved > 0 or not gradient[name].any()


def test_a_weight_without_a_gradient_takes_no_step() -> None:
    learner = new_strategy("uniform", small_config("search.optimizer=adam"))._weights  # type: ignore[attr-defined]
    weights = trained_weights(learner.bare_net)
    landing = adam_step(learner, weights, {name: torch.zeros_like(w) for name, w in weights.items()}, 0.1)
    assert all(torch.equal(landing.weights[name], weight) for name, weight in weights.items())
    assert not any(rates.any() for rates in landing.rates.values())


def test_the_further_passes_leave_no_trace_in_weights_or_norms() -> None:
    """At a rate that cannot move the mixture, a step equals the synchronous one, which has a single pass."""
    config = small_config("search.architecture_lr=1e-30")
    batches = training_stream(config, 2)
    second, sync = (new_strategy(name, config) for name in ("second-order", "sync"))
    second.step(batches[0], batches[1], 0)
    sync.step(batches[0], None, 0)
    for (name, ours), theirs in zip(second.net.state_dict().items(), sync.net.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_the_architecture_follows_both_batches() -> None:
    config = small_config()
    batches = training_stream(config, 3)

    def gradients(weight_batch: int, architecture_batch: int) -> Tensor:
        learner = new_strategy("second-order", config)
        assert isinstance(learner, SecondOrder)
        learner._weights.net.train()
        _, found = learner._gradients(batches[weight_batch], batches[architecture_batch], 0)
        return flat(found)

    first = gradients(0, 1)
    assert torch.equal(first, gradients(0, 1))
    assert not torch.allclose(first, gradients(2, 1), rtol=1e-3)
    assert not torch.allclose(first, gradients(0, 2), rtol=1e-3)
