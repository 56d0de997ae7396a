"""The search: a strategy learns on a supernet, then the architecture it found is derived and kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from posefabric.architecture import Architecture
from posefabric.config import Config
from posefabric.data.records import People
from posefabric.data.sources import require_images
from posefabric.engine.conclusion import conclude
from posefabric.engine.discretisation import discretise
from posefabric.engine.evaluate import validate
from posefabric.engine.from_scratch import announce, keep_untrained
from posefabric.engine.loop import Batches, Plan, Source, build_engine, run_steps
from posefabric.engine.scoring import Scoring, Shares
from posefabric.engine.skipping import SkippedImages
from posefabric.engine.train import load_backbone
from posefabric.engine.watching import SearchWatch
from posefabric.predictor import crop_settings
from posefabric.runs import Run
from posefabric.strategies import strategy
from posefabric.strategies.auxiliary import check_skips
from posefabric.strategies.derive import check_derivation
from posefabric.strategies.protocol import StrategySetup

CANDIDATES = "candidates.jsonl"
"""Every net that a strategy compared, with its seed, MACs and score, where one did."""


def search(run: Run, config: Config, supernet: Architecture, train: People, val: People) -> dict[str, Any]:
    """Search in a run folder; the figures of the derived net, and of the mixture it comes from (`discretise`)."""
    began = time.monotonic()
    settings = config.search
    require_images(train, val)
    skipped = SkippedImages(run, train)
    engine = build_engine(config, settings.precision)
    torch.manual_seed(config.seed)
    chosen = strategy(settings.strategy)
    check_derivation(supernet, settings)  # told now, not after the search
    if supernet.partial:
        announce(run)
    shares = Shares.of(config, len(train))[: 1 + chosen.steps_on_held_out]
    plan, *_ = [Plan.of(settings, len(share)) for share in shares]  # the weights' share sets the length
    view = crop_settings(config, supernet, augmented=True)
    sources = [
        Source(train, view, settings.batch_size, config.data.num_workers, config.seed + number, share)
        for number, share in enumerate(shares)
    ]
    initialise = partial(load_backbone, config=config)
    record = partial(run.log, name=CANDIDATES)
    learner = chosen(StrategySetup(engine, supernet, config, plan.num_steps, initialise, record))
    check_skips(learner.net, settings.strategy)
    device = str(engine.device)

    def batches_from(start: int) -> Iterator[Batches]:
        for batches in zip(*(source.batches(plan, start) for source in sources), strict=True):
            weight_batch, *architecture_batch = (skipped.noted(batch).to(device) for batch in batches)
            yield weight_batch, next(iter(architecture_batch), None)

    watch = SearchWatch(run, lambda: learner.net, settings)
    run_steps(run, learner, plan, batches_from, lambda: validate(learner.net, val, config, device), watch)
    count = settings.recalibration_batches
    seen = (skipped.noted(batch).to(device) for batch in sources[0].batches(Plan(count, max(count, 1)), 0))
    (run.path / CANDIDATES).unlink(missing_ok=True)  # of a session that was interrupted while it chose
    found = learner.choose(Scoring(learner.net, config, train, skipped.noted))
    if supernet.partial:
        figures = keep_untrained(run, config, found, learner.net, val)
    else:
        figures = discretise(run, config, found, learner.net, val, seen)
    conclude(run, began)
    return figures
