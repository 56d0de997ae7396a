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

from posefabric import heatmaps, ranks
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
    """A loss as a number, the mean over the ranks; one that is not finite raises `UserError("diverged")`."""
    value = float(*ranks.means([loss.detach()]))
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
        self._rate_factor = 1.0
        self.pieces = 1  # in how many a batch is worked through
        self.objective: Objective = heatmap_objective
        self.penalty: Callable[[int], Tensor] | None = None
        self._shares_norms = ranks.size() > 1 and engine.device.type == "cuda"
        if self._shares_norms:
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
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

    def rate(self, step: int) -> float:
        """The learning rate of a step (0-based)."""
        return self._rate_factor * learning_rate(self.settings, step, self.num_steps)

    def slow_down(self, factor: float) -> None:
        """Multiply all learning rates by a factor, from the next step on."""
        self._rate_factor = factor

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
        rate = self.rate(step)
        for group in self.optimizer.param_groups:
            if group.get("scheduled", True):
                group["lr"] = group.get("first_lr", self.settings.lr) * rate / self.settings.lr
            else:
                group["lr"] = group["first_lr"] * self._rate_factor
        self.net.train()
        value = self._gradient(batch, step, rate)
        self._meet()
        limit = self.settings.clip_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(self._learned, limit))
        if not math.isfinite(norm):
            return {"loss": value, "lr": rate, "skipped": float(self._skip(step))}
        self.optimizer.step()
        self.skipped = 0
        if self.average is not None:
            self.average.update_parameters(self.bare_net)
        return {"loss": value, "lr": rate, "gradient_norm": norm}

    def _gradient(self, batch: Batch, step: int, rate: float) -> float:
        """Put the gradient of a batch into the parameters; its loss. Where memory runs out, in ever smaller pieces."""
        while (loss := self._fitting(batch, step)) is None:
            self._halve(len(batch.images))
        return checked_loss(loss, step, rate)

    def _fitting(self, batch: Batch, step: int) -> Tensor | None:
        """The loss of a batch whose gradient is in the parameters now; none where the memory of some rank ran out."""
        self.optimizer.zero_grad()
        loss = None
        try:
            loss = self._accumulated(batch, step)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if self._shares_norms:
                found = f"{error}; ranks that share the statistics of their norms cannot cut their batches"
                raise UserError("out-of-memory", found, todo="give a smaller batch size, or more GPUs") from error
            logger.warning("%s", error)
        return None if ranks.highest(loss is None)[0] else loss

    def _accumulated(self, batch: Batch, step: int) -> Tensor:
        value, count = torch.zeros((), device=batch.images.device), len(batch.images)
        for piece in batch.pieces(-(-count // self.pieces)):
            share = len(piece.images) / count
            loss = self.objective(self.net, piece, self.sigma_px)
            value += share * loss.detach()
            self.engine.backward(share * loss if self.pieces > 1 else loss)
        penalty = self.penalty(step) if self.penalty is not None else value
        if penalty.requires_grad:  # not while alpha and beta wait for the weights
            self.engine.backward(penalty)
        return value

    def _meet(self) -> None:
        """Take the mean over the ranks of what each found in its own part of the batch."""
        if ranks.size() == 1:
            return
        statistics = (buffer for buffer in self.bare_net.buffers() if buffer.is_floating_point())
        found = [*(p.grad for p in self._learned if p.grad is not None), *statistics]
        for tensor, mean in zip(found, ranks.means(found), strict=True):
            tensor.copy_(mean)

    def _halve(self, count: int) -> None:
        if self.pieces >= count:
            raise UserError("out-of-memory", "one sample at a time does not fit into memory")
        self.pieces *= 2
        self.optimizer.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        logger.warning(
            "out of memory: from now on %d samples at a time, %d to a step as before; norms see the smaller batches",
            -(-count // self.pieces),
            count,
        )

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
            "pieces": self.pieces,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.bare_net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.skipped, self.pieces = state["skipped"], state["pieces"]
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def _is_out_of_memory(error: BaseException) -> bool:
    """Of the GPU or of the machine; the latter is a plain RuntimeError of torch's allocator."""
    told = ("can't allocate memory", "not enough memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(words in str(error) for words in told)
