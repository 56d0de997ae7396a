"""The search: a strategy learns on a supernet, then the architecture it found is derived and kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from posefabric.architecture import Architecture
from posefabric.checkpoints import save_tensors
from posefabric.config import Config
from posefabric.data.records import People
from posefabric.data.sources import require_images
from posefabric.engine.conclusion import conclude, measure
from posefabric.engine.evaluate import evaluate
from posefabric.engine.loop import Batches, Plan, Source, build_engine, run_steps
from posefabric.engine.skipping import SkippedImages
from posefabric.engine.train import load_backbone
from posefabric.models.net import PoseNet
from posefabric.predictor import crop_settings, inherit
from posefabric.runs import Run
from posefabric.strategies import strategy
from posefabric.strategies.derive import derivation, derive
from posefabric.strategies.protocol import StrategySetup

SUPERNET_FILE = "supernet.json"
"""The mixture that was found, beside the derived `architecture.json`; the weights fit both."""


def search(run: Run, config: Config, supernet: Architecture, train: People, val: People) -> dict[str, Any]:
    """Search in a run folder. Gives the figures of the derived net with inherited weights, and the mixture's."""
    began = time.monotonic()
    settings = config.search
    require_images(train, val)
    skipped = SkippedImages(run, train)
    engine = build_engine(config, settings.precision)
    torch.manual_seed(config.seed)
    chosen = strategy(settings.strategy)
    derivation(settings.derive)  # a misspelt name is told now, not after the search
    shares = _shares(len(train), settings.architecture_share if chosen.held_out else 0.0, config.seed)
    plan, *_ = [Plan.of(settings, len(share)) for share in shares]  # the weights' share sets the length
    view = crop_settings(config, supernet, augmented=True)
    sources = [
        Source(train, view, settings.batch_size, config.data.num_workers, config.seed + number, share)
        for number, share in enumerate(shares)
    ]
    initialise = partial(load_backbone, config=config)
    learner = chosen(StrategySetup(engine, supernet, config, plan.num_steps, initialise))
    device = str(engine.device)

    def batches_from(start: int) -> Iterator[Batches]:
        for batches in zip(*(source.batches(plan, start) for source in sources), strict=True):
            weight_batch, *architecture_batch = (skipped.noted(batch).to(device) for batch in batches)
            yield weight_batch, next(iter(architecture_batch), None)

    def score(architecture: Architecture) -> float:
        return evaluate(_derived_net(architecture, learner.net), val, config, device)["AP"]

    run_steps(run, learner, plan, batches_from, lambda: evaluate(learner.net, val, config, device))
    found = learner.choose(score)
    derived = derive(found, settings.derive, settings)
    run.save_architecture(found, SUPERNET_FILE)
    run.save_architecture(derived)
    run.save_architecture(derived, f"architectures/{settings.derive}.json")
    save_tensors(run.path / "weights.safetensors", learner.net.state_dict())
    mixture = {f"mixture/{name}": value for name, value in evaluate(learner.net, val, config, device).items()}
    figures = measure(run, _derived_net(derived, learner.net).to(device), val, config) | mixture
    run.save_figures(figures)
    conclude(run, began)
    return figures


def _derived_net(architecture: Architecture, supernet: PoseNet) -> PoseNet:
    net = PoseNet(architecture)
    inherit(net, supernet.state_dict())
    return net


def _shares(count: int, architecture_share: float, seed: int) -> list[Sequence[int]]:
    """Persons for the weights, and where a share is held out, those for the architecture; drawn, and disjoint."""
    order = np.random.default_rng([seed, 1]).permutation(count).tolist()
    cut = count - round(architecture_share * count)
    return [order[:cut], order[cut:]] if architecture_share else [order]
