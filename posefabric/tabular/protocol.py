"""How the table was made: the people, one training of one architecture, and one search on the same people.

Everything is one thread of a CPU and one function of its seed. The batches are made once; seeds differ in the initial
weights and in the order of the batches.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from posefabric.architecture import Architecture
from posefabric.config import Config, override
from posefabric.data.loader import Batch, evaluation_batches, training_batches
from posefabric.data.memory import InMemory
from posefabric.data.records import PersonRecord, records
from posefabric.data.synthetic import SyntheticPeople
from posefabric.engine.bench import search_plan, search_sources
from posefabric.engine.loop import Plan, build_engine
from posefabric.engine.scoring import Scoring
from posefabric.evaluation.pck import pck
from posefabric.models.net import PoseNet
from posefabric.optimization import WeightLearner, heatmap_objective
from posefabric.predictor import crop_settings, infer
from posefabric.settings import Augmentation, DataSettings, EvaluationSettings, SearchSettings, TrainSettings
from posefabric.skeletons import COCO17
from posefabric.strategies import strategy
from posefabric.strategies.derive import derive
from posefabric.strategies.protocol import StrategySetup
from posefabric.tabular.cut import cut_supernet
from posefabric.tabular.table import Trained

TRAIN, VAL, TEST = range(3)
"""Seeds of the people of each split."""

NUM_POINTS = 8
"""Of a learning curve."""

_FAST: dict[str, Any] = {
    "batch_size": 16,
    "optimizer": "adamw",
    "lr": 1e-2,
    "weight_decay": 1e-2,
    "schedule": "cosine",
    "warmup": 0.1,
    "clip_norm": 1.0,
}
CONFIG = Config(
    accelerator="cpu",
    data=DataSettings(
        sigma_px=1.0,
        augmentation=Augmentation(half_body_probability=0.0, cutout_probability=0.0),
        synthetic_train=512,
        synthetic_val=128,
        synthetic_hw=(96, 80),
        synthetic_variety=0.3,
    ),
    train=TrainSettings(**_FAST, epochs=2),
    search=SearchSettings(
        **_FAST, epochs=4, architecture_lr=5e-2, derive="argmax", max_inputs=1, recalibration_batches=4
    ),
    evaluation=EvaluationSettings(decode="quarter"),
)
"""A training is two epochs, 64 steps; a search of a strategy that holds half of the persons out 64, of another 128."""


@functools.cache
def people(split: int) -> InMemory:
    """The persons of a split: 512, 128 and 256."""
    data = CONFIG.data
    count = (data.synthetic_train, data.synthetic_val, 2 * data.synthetic_val)[split]
    return InMemory(SyntheticPeople(COCO17, count, split, data.synthetic_hw, data.synthetic_variety))


@functools.cache
def training() -> list[Batch]:
    """The batches of a training."""
    view, steps = (
        crop_settings(CONFIG, cut_supernet(), augmented=True),
        Plan.of(CONFIG.train, len(people(TRAIN))).num_steps,
    )
    return list(training_batches(people(TRAIN), view, batch_size=CONFIG.train.batch_size, seed=0, num_steps=steps))


@functools.cache
def measuring(split: int) -> tuple[list[Batch], list[PersonRecord]]:
    """The people that nets are measured on, in order and not augmented."""
    view = crop_settings(CONFIG, cut_supernet(), augmented=False)
    return list(evaluation_batches(people(split), view, batch_size=64)), list(records(people(split)))


def train(architecture: Architecture, seed: int) -> Trained:
    """Train an architecture from scratch and measure it."""
    batches, began = training(), time.process_time()
    torch.manual_seed(seed)
    engine = build_engine(CONFIG, CONFIG.train.precision)
    learner = WeightLearner(engine, PoseNet(architecture), CONFIG, CONFIG.train, len(batches))
    order = np.random.default_rng([seed, 1]).permutation(len(batches))
    losses = [learner.step(batches[number], step)["loss"] for step, number in enumerate(order)]
    seconds = time.process_time() - began
    (loss, score), (val_loss, val_score) = (measure(learner.best_net, split) for split in (TEST, VAL))
    return Trained(
        loss=round(loss, 4),
        pck=round(score, 2),
        val_loss=round(val_loss, 4),
        val_pck=round(val_score, 2),
        curve=tuple(round(1e3 * float(part.mean()), 3) for part in np.array_split(np.array(losses), NUM_POINTS)),
        seconds=round(seconds, 2),
    )


@torch.inference_mode()
def measure(net: PoseNet, split: int) -> tuple[float, float]:
    """Heatmap loss times 1000 and PCK@0.2 on the people of a split; the net is left in eval mode."""
    net.eval()
    batches, persons = measuring(split)
    losses = [float(heatmap_objective(net, batch, CONFIG.data.sigma_px)) * len(batch.images) for batch in batches]
    points = np.concatenate([infer(net, batch, CONFIG)[0] for batch in batches])
    return 1e3 * sum(losses) / len(persons), pck(persons, points, COCO17)["PCK@0.2"]


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found: the net derived from it, the supernet, and what that says of any architecture.

    `score` is minus the heatmap loss of a net with the supernet's weights, recalibrated, on training persons.
    """

    architecture: Architecture
    supernet: PoseNet
    score: Scoring


def search(name: str, seed: int, *assignments: str) -> Found:
    """Search the cut space with a strategy, on the training people of the table; `assignments` change `CONFIG`."""
    config = override(CONFIG, [f"seed={seed}", f"search.strategy={name}", *assignments])
    settings, sources = config.search, search_sources(config, cut_supernet(), people(TRAIN))
    plan = search_plan(settings, sources)
    torch.manual_seed(seed)
    learner = strategy(name)(
        StrategySetup(build_engine(config, settings.precision), cut_supernet(), config, plan.num_steps)
    )
    streams = [source.batches(plan, 0) for source in sources]
    for step, (batch, *held_out) in enumerate(zip(*streams, strict=True)):
        learner.step(batch, next(iter(held_out), None), step=step)
    score = Scoring(learner.net, config, people(TRAIN))
    return Found(derive(learner.choose(score), settings.derive, settings), learner.net, score)
