"""Distillation: a net learns what a teacher sees beside what is labelled (FPD, 1811.05419).

The teacher of a derived net is the mixture it was derived from. Whatever net it is, it does not change, and it sees, in
eval mode, the very crops the net learns from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from posefabric.data.loader import Batch
from posefabric.errors import UserError
from posefabric.handmade import Description
from posefabric.heatmaps import heatmap_loss
from posefabric.models.net import Net, build
from posefabric.optimization import loss_of
from posefabric.predictor import inherit, kept_weights
from posefabric.runs import SUPERNET_FILE, Run


class Distillation:
    """The loss (1 - w) x that of the labels + w x that of the teacher's maps, in which every keypoint counts."""

    def __init__(self, teacher: Net, weight: float, autocast: Callable[[], Any]) -> None:
        self.teacher, self.weight, self._autocast = teacher.eval().requires_grad_(False), weight, autocast

    def __call__(self, net: Callable[[Tensor], Tensor], batch: Batch, sigma_px: float) -> Float[Tensor, ""]:
        predicted = net(batch.images)
        with torch.no_grad(), self._autocast():
            shown = self.teacher(batch.images).float()
        everywhere = shown.new_ones(shown.shape[:2])
        labels, teacher = loss_of(predicted, batch, sigma_px), heatmap_loss(predicted.float(), shown, everywhere)
        return (1 - self.weight) * labels + self.weight * teacher


def read_teacher(run: Run, student: Description) -> tuple[Net, dict[str, str]]:
    """The mixture of a search, or the net of any other run, and what identifies it.

    One of other keypoints, or whose crops or heatmaps have another size than the student's, raises `UserError`.
    """
    name = SUPERNET_FILE if (run.path / SUPERNET_FILE).is_file() else "architecture.json"
    described = run.description(name)
    for label, theirs, ours in (
        ("keypoints", described.skeleton.keypoints, student.skeleton.keypoints),
        ("input_hw", described.input_hw, student.input_hw),
        ("heatmap_hw", described.heatmap_hw, student.heatmap_hw),
    ):
        if theirs != ours:
            raise UserError(
                "bad-value", f"the teacher {run.path} has the {label} {theirs}", f"those of the net: {ours}"
            )
    net = build(described)
    inherit(net, kept_weights(run, described))
    files = [run.path / name, run.path / "weights.safetensors"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return net, {"name": f"{run.path.name}/{name}", "sha256": digest}
