"""Stage 8a of the walk: how weights learn from a batch. Training and every search strategy stand on this.

The learning rate is a function of the step, so a resume needs the optimizer's state and the step, nothing else.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from lightning_fabric import Fabric as Engine
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from posefabric import heatmaps
from posefabric.config import Config
from posefabric.data.loader import Batch
from posefabric.errors import UserError
from posefabric.models.net import Net
from posefabric.settings import Optimization

logger = logging.getLogger(__name__)

N = TypeVar("N", bound=Net)

Objective = Callable[[Callable[[Tensor], Tensor], Batch, float], Tensor]
"""The loss of a net on a batch, given sigma in heatmap pixels."""

PATIENCE = 10
"""How many gradients in a row may overflow before a run has diverged."""


def heatmap_objective(net: Callable[[Tensor], Tensor], batch: Batch, sigma_px: float) -> Float[Tensor, ""]:
    """The loss of a net on a batch: its heatmaps against Gaussians of `sigma_px` heatmap pixels."""
    return loss_of(net(batch.images), batch, sigma_px)


def loss_of(predicted: Float[Tensor, "B K h w"], batch: Batch, sigma_px: float) -> Float[Tensor, ""]:
    """The loss of heatmaps that a net predicted for a batch."""
    (height, width), (h, w) = batch.images.shape[-2:], predicted.shape[-2:]
    target, weights = heatmaps.encode(batch.keypoints_xy, batch.visibility, (height, width), (h, w), sigma_px)
    return heatmaps.heatmap_loss(predicted.float(), target, weights)


def checked_loss(loss: Float[Tensor, ""], step: int, rate: float) -> float:
    """A loss as a number; one that is not finite raises `UserError("diverged")`."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise UserError("diverged", f"the loss of step {step} is {value} (learning rate {rate:g})")
    return value


def learning_rate(settings: Optimization, step: int, num_steps: int) -> float:
    """The rate of step `step` (0-based) of `num_steps`."""
    progress = step / num_steps
    if progress < settings.warmup:
        return settings.lr * (step + 1) / math.ceil(settings.warmup * num_steps)
    if settings.schedule == "cosine":
        rest = (progress - settings.warmup) / (1 - settings.warmup)
        return settings.lr * (1 + math.cos(math.pi * rest)) / 2
    if settings.schedule == "steps":
        return settings.lr * settings.gamma ** sum(progress >= milestone for milestone in settings.milestones)
    return settings.lr


def weight_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: only matrices and kernels decay, biases and norms do not."""
    kept = list(parameters)
    return [
        {"params": [p for p in kept if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in kept if p.ndim <= 1], "weight_decay": 0.0},
    ]


class WeightLearner(Generic[N]):
    """Gradient descent on a net's weights, with schedule, clipping and moving average as configured.

    `architecture_groups` are further optimizer groups that learn in the same step; with `scheduled` their rate
    starts at `first_lr` and falls with the weights', without it stays at `lr`. `penalty` (step -> scalar) joins the
    loss that is minimised, not the one that is reported; `objective` takes the place of the heatmap loss in both.
    """

    def __init__(
        self,
        engine: Engine,
        net: N,
        config: Config,
        settings: Optimization,
        num_steps: int,
        architecture_groups: Iterable[dict[str, Any]] = (),
    ) -> None:
        self.settings, self.num_steps, self.engine = settings, num_steps, engine
        self.sigma_px = config.data.sigma_px
        self.skipped = 0
        self.objective: Objective = heatmap_objective
        self.penalty: Callable[[int], Tensor] | None = None
        self.bare_net = net.to(memory_format=torch.channels_last)
        weights = weight_groups(net.weights(), settings.weight_decay)
        optimizer_class = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
        optimizer = optimizer_class([*weights, *architecture_groups], lr=settings.lr, fused=True)
        self.net, self.optimizer = engine.setup(net, optimizer)
        self._learned = [p for group in optimizer.param_groups for p in group["params"]]
        average = get_ema_multi_avg_fn(settings.ema_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(net, multi_avg_fn=average, use_buffers=True) if settings.ema_decay else None

    @property
    def best_net(self) -> N:
        """The net to evaluate and keep: the moving average where there is one."""
        net = self.bare_net if self.average is None else self.average.module
        assert isinstance(net, type(self.bare_net))
        return net

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss at the run's precision, for gradients of other parameters than those the optimizer moves.

        The net is the bare one: what an engine wraps allows no gradients but its own at mixed precision.
        """
        with self.engine.autocast():
            return heatmap_objective(self.bare_net, batch, self.sigma_px)

    def step(self, batch: Batch, step: int) -> dict[str, float]:
        """One update. A gradient that overflows is left out and counted as `skipped`.

        A loss that is not finite, or `PATIENCE` left-out gradients in a row, raise `UserError("diverged")`.
        """
        rate = learning_rate(self.settings, step, self.num_steps)
        for group in self.optimizer.param_groups:
            if group.get("scheduled", True):
                group["lr"] = group.get("first_lr", self.settings.lr) * rate / self.settings.lr
        self.net.train()
        loss = self.objective(self.net, batch, self.sigma_px)
        value = checked_loss(loss, step, rate)
        self.optimizer.zero_grad()
        self.engine.backward(loss if self.penalty is None else loss + self.penalty(step))
        limit = self.settings.clip_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(self._learned, limit))
        if not math.isfinite(norm):
            return {"loss": value, "lr": rate, "skipped": float(self._skip(step))}
        self.optimizer.step()
        self.skipped = 0
        if self.average is not None:
            self.average.update_parameters(self.bare_net)
        return {"loss": value, "lr": rate, "gradient_norm": norm}

    def _skip(self, step: int) -> int:
        self.skipped += 1
        logger.warning("step %d: the gradient is not finite; no update", step)
        if self.skipped == PATIENCE:
            raise UserError("diverged", f"{PATIENCE} gradients in a row are not finite, up to step {step}")
        return self.skipped

    def state_dict(self) -> dict[str, Any]:
        average = self.average.state_dict() if self.average is not None else {}
        return {
            "net": self.bare_net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": average,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.bare_net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.skipped = state["skipped"]
        if self.average is not None:
            self.average.load_state_dict(state["average"])
