"""Second-order DARTS: the architecture learns through one step of the weights, without a second copy of the net."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from posefabric import ranks
from posefabric.data.loader import Batch
from posefabric.models.net import PoseNet
from posefabric.optimization import WeightLearner, checked_loss, heatmap_objective
from posefabric.strategies.gradient import FirstOrder

Weights = Mapping[str, Tensor]
Loss = Callable[[Weights], Tensor]

RADIUS = 0.01
"""How far the weights move either way for the finite difference, as a Euclidean distance (DARTS)."""


class Landing(NamedTuple):
    """Where an optimizer's step puts the weights, and how fast they would move with the gradient, `-rates` each."""

    weights: Weights
    rates: Weights


def hypergradient(
    held_out_loss: Loss,
    training_loss: Loss,
    weights: Weights,
    architecture: Sequence[Tensor],
    unroll: Callable[[Weights], Landing],
    radius: float = RADIUS,
) -> tuple[Tensor, list[Tensor]]:
    """The held-out loss after one step of the weights, and its gradient with respect to the architecture.

    By the chain rule that is the direct gradient there minus the mixed second derivative of the training loss times the
    step's `rates` and the pull on the weights; the product is a central difference of two gradients (DARTS equation 8).
    Both losses read `architecture`, which requires gradients, by themselves. `unroll` makes the step from a gradient.
    """
    start = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    slope = torch.autograd.grad(training_loss(start), list(start.values()), materialize_grads=True)
    landing = unroll(dict(zip(start, ranks.means(slope), strict=True)))
    landed = {name: weight.detach().requires_grad_() for name, weight in landing.weights.items()}
    loss = held_out_loss(landed)
    found = torch.autograd.grad(loss, [*architecture, *landed.values()], materialize_grads=True)
    direct, pull = found[: len(architecture)], ranks.means(found[len(architecture) :])
    direction = {name: landing.rates[name] * force for name, force in zip(landed, pull, strict=True)}
    length = norm(direction.values())
    if not float(length):
        return loss, list(direct)
    size = radius / length
    with torch.no_grad():
        ahead, behind = ({n: w + sign * size * direction[n] for n, w in start.items()} for sign in (1, -1))
    above, below = (
        torch.autograd.grad(training_loss(moved), architecture, materialize_grads=True) for moved in (ahead, behind)
    )
    return loss, [d - (a - b) / (2 * size) for d, a, b in zip(direct, above, below, strict=True)]


class SecondOrder(FirstOrder):
    """DARTS of second order: alpha and beta step where the weights would be after their own step.

    The four further passes leave no trace: alpha and beta are no weights, and the running statistics of norms stay.
    """

    def _gradients(self, weight_batch: Batch, architecture_batch: Batch, step: int) -> tuple[Tensor, Sequence[Tensor]]:
        learner = self._weights
        rate = learner.rate(step)
        weights = trained_weights(learner.bare_net)
        scratch = {name: buffer.clone() for name, buffer in learner.bare_net.named_buffers()}

        def loss_on(batch: Batch, values: Weights) -> Tensor:
            def net(images: Tensor) -> Tensor:
                maps: Tensor = functional_call(learner.bare_net, {**values, **scratch}, (images,))
                return maps

            with learner.engine.autocast():
                loss = heatmap_objective(net, batch, learner.sigma_px)
            checked_loss(loss, step, rate)
            return loss

        return hypergradient(
            lambda values: loss_on(architecture_batch, values),
            lambda values: loss_on(weight_batch, values),
            weights,
            self._parameters,
            lambda gradient: adam_step(learner, weights, gradient, rate),
        )


def trained_weights(net: PoseNet) -> dict[str, Tensor]:
    """The parameters of a net under their names, without alpha and beta."""
    kept = {id(parameter) for parameter in net.weights()}
    return {name: parameter for name, parameter in net.named_parameters() if id(parameter) in kept}


@torch.no_grad()
def adam_step(learner: WeightLearner[PoseNet], weights: Weights, gradient: Weights, rate: float) -> Landing:
    """The step that a learner's Adam or AdamW would make without momentum: rate / (sqrt(second moment) + eps).

    The second moment counts the new gradient, so the first step is Adam's own; clipping and decay are the learner's. A
    weight that never had a gradient stays, and its rate is 0.
    """
    clip = learner.settings.clip_norm
    shrink = torch.clamp(clip / (norm(gradient.values()) + 1e-6), max=1.0) if clip else 1.0
    names = {id(weight): name for name, weight in weights.items()}
    landed: dict[str, Tensor] = {}
    rates: dict[str, Tensor] = {}
    for group in learner.optimizer.param_groups:
        decoupled = group["weight_decay"] if learner.settings.optimizer == "adamw" else 0.0
        coupled = group["weight_decay"] - decoupled
        for parameter in group["params"]:
            name = names[id(parameter)]
            slope = shrink * gradient[name] + coupled * parameter
            moment = _second_moment(learner, group["betas"][1], parameter, slope)
            scale = torch.where(moment > 0, rate / (moment.sqrt() + group["eps"]), 0.0)
            landed[name] = parameter * (1 - rate * decoupled) - scale * slope
            rates[name] = shrink * scale
    return Landing(landed, rates)


def _second_moment(learner: WeightLearner[PoseNet], decay: float, parameter: Tensor, slope: Tensor) -> Tensor:
    """Adam's running mean of squared gradients, corrected for its start at 0, once it has seen `slope`."""
    state = learner.optimizer.state.get(parameter, {})
    count = 1 + float(state.get("step", 0))
    mean: Tensor = decay * state.get("exp_avg_sq", torch.zeros_like(parameter)) + (1 - decay) * slope.square()
    corrected: Tensor = mean / (1 - decay**count)
    return corrected


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """Euclidean length of all tensors together."""
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum().sqrt()
