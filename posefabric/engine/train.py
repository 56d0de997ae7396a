"""Training of one architecture, from scratch or from inherited weights."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from posefabric.backbone import FABRIC
from posefabric.checkpoints import save_tensors
from posefabric.config import Config
from posefabric.data.records import People
from posefabric.data.sources import require_images
from posefabric.engine.conclusion import conclude, measure
from posefabric.engine.distillation import Distillation
from posefabric.engine.evaluate import evaluate
from posefabric.engine.loop import Batches, Plan, Source, build_engine, run_steps
from posefabric.engine.skipping import SkippedImages
from posefabric.foreign import read_foreign
from posefabric.handmade import Description
from posefabric.models.backbones import pretrained_state
from posefabric.models.net import Net, build
from posefabric.optimization import WeightLearner
from posefabric.predictor import crop_settings, inherit
from posefabric.runs import Run


def build_net(described: Description, config: Config, weights: Mapping[str, Tensor] | None = None) -> Net:
    """The net that training starts from: inherited weights, else random ones, with the backbone's pretrained."""
    torch.manual_seed(config.seed)
    net = build(described)
    if weights is None:
        load_backbone(net, config)
    else:
        inherit(net, weights)
    return net


def train(
    run: Run, config: Config, net: Net, people: tuple[People, People], teacher: Net | None = None
) -> dict[str, Any]:
    """Train a net in a run folder on (train, val) people; the figures of the result.

    With a `teacher` it learns from that one's heatmaps too, as `train.distill` weighs them.
    """
    began = time.monotonic()
    settings = config.train
    engine = build_engine(config, settings.precision)
    train_people, val_people = people
    require_images(*people)
    skipped = SkippedImages(run, train_people)
    plan = Plan.of(settings, len(train_people))
    view = crop_settings(config, net.architecture, augmented=True)
    source = Source(train_people, view, settings.batch_size, config.data.num_workers, config.seed)
    learner = WeightLearner(engine, net, config, settings, plan.num_steps)
    device = str(engine.device)
    if teacher is not None:
        learner.objective = Distillation(teacher.to(device), settings.distill, engine.autocast)

    def batches_from(start: int) -> Iterator[Batches]:
        return ((skipped.noted(batch).to(device),) for batch in source.my_part(plan, start))

    run.save_architecture(net.architecture)
    run_steps(run, learner, plan, batches_from, lambda: evaluate(learner.best_net, val_people, config, device))
    save_tensors(run.path / "weights.safetensors", learner.best_net.state_dict())
    figures = measure(run, learner.best_net, val_people, config)
    conclude(run, began)
    return figures


def load_backbone(net: Net, config: Config) -> None:
    """Give a net's backbone the pretrained weights that the configuration asks for, if any."""
    name, coarsest = net.architecture.backbone.name, net.architecture.feature_strides[-1]
    if not config.backbone.pretrained or name == FABRIC:
        return
    file = config.backbone.weights
    state: dict[str, Any] = pretrained_state(name, coarsest, read_foreign(file) if file else None)
    net.backbone.load_state_dict(state)
