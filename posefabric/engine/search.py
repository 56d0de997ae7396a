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
from posefabric.engine.bench import Bench, search_plan
from posefabric.engine.conclusion import conclude
from posefabric.engine.discretisation import keep_mixture
from posefabric.engine.evaluate import validate
from posefabric.engine.from_scratch import announce, keep_net
from posefabric.engine.loop import Batches, run_steps
from posefabric.engine.train import load_backbone
from posefabric.engine.watching import SearchWatch
from posefabric.runs import CANDIDATES, Run
from posefabric.strategies import strategy
from posefabric.strategies.auxiliary import check_skips
from posefabric.strategies.derive import check_derivation
from posefabric.strategies.protocol import StrategySetup


def search(run: Run, config: Config, supernet: Architecture, train: People, val: People) -> dict[str, Any]:
    """Search in a run folder; the figures of the derived net, and of the mixture it comes from (`discretise`)."""
    began = time.monotonic()
    settings = config.search
    bench = Bench(run, config, supernet, train, val)
    torch.manual_seed(config.seed)
    check_derivation(supernet, settings)  # told now, not after the search
    if supernet.partial:
        announce(run, settings)
    plan = search_plan(settings, bench.sources)
    initialise = partial(load_backbone, config=config)
    record = partial(run.log, name=CANDIDATES)
    setup = StrategySetup(bench.engine, supernet, config, plan.num_steps, initialise, record)
    learner = strategy(settings.strategy)(setup)
    check_skips(learner.net, settings.strategy)

    def batches_from(start: int) -> Iterator[Batches]:
        for batches in zip(*(source.my_part(plan, start) for source in bench.sources), strict=True):
            weight_batch, *architecture_batch = map(bench.shown, batches)
            yield weight_batch, next(iter(architecture_batch), None)

    watch = SearchWatch(run, lambda: learner.net, settings)
    run_steps(run, learner, plan, batches_from, lambda: validate(learner.net, val, config, bench.device), watch)
    (run.path / CANDIDATES).unlink(missing_ok=True)  # of a session that was interrupted while it chose
    found = learner.choose(bench.scoring(learner.net))
    keep_mixture(run, found, learner.net)
    figures = keep_net(run, bench, found, learner.net)
    conclude(run, began)
    return figures
