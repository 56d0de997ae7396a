"""What checkpoints cost: the same training with and without them, in turns.

    python benchmarks/bench_saving.py [ROUNDS] [STEPS]

A round trains one net twice for STEPS steps, saving as a run does and not at all; which comes first changes from round
to round. Half-way and at the end are validations, before which a run saves whatever that costs. Printed: milliseconds a
step, wall and processor time, the median ratio with its quartiles; and, free of the machine's drift, the share of its
own time that a run spends in saving.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch

from posefabric.config import Config, override
from posefabric.data.synthetic import SyntheticPeople
from posefabric.engine.keeping import Keeper
from posefabric.engine.loop import Batches, Plan, Source, build_engine, run_steps
from posefabric.engine.train import build_net
from posefabric.optimization import WeightLearner
from posefabric.predictor import crop_settings
from posefabric.recipes import recipe
from posefabric.runs import Run

ROUNDS, STEPS = 6, 60
SETTINGS = ["accelerator=cpu", "data.in_memory=true", "train.batch_size=16"]


Seconds = tuple[float, float]
"""Wall and processor time."""


def train(config: Config, steps: int, folder: Path, saving: bool) -> tuple[Seconds, list[Seconds]]:
    """What a training took that saves, or does not, and what each save did."""
    people = SyntheticPeople(count=64, image_hw=config.data.synthetic_hw)
    supernet = config.model.supernet(people.skeleton, config.backbone.describe())
    engine = build_engine(config, config.train.precision)
    view = crop_settings(config, supernet, augmented=True)
    source = Source(people, view, config.train.batch_size, 0, config.seed)
    plan = Plan(steps, steps // 2)
    learner = WeightLearner(engine, build_net(supernet, config), config, config.train, steps)
    run = Run.start(folder, "train", config.data_form(), {})

    def batches_from(start: int) -> Iterator[Batches]:
        return ((batch,) for batch in source.batches(plan, start))

    saves, honest = list[Seconds](), Keeper.save

    def save(keeper: Keeper, step: int) -> None:
        if saving:
            saves.append(timed(lambda: honest(keeper, step)))

    with mock.patch.object(Keeper, "save", save):
        return timed(lambda: run_steps(run, learner, plan, batches_from, dict)), saves


def timed(work: Callable[[], None]) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def spread(percents: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(percents, n=4)
    return f"{middle:.2f} % ({low:.2f} to {high:.2f})"


def main() -> None:
    rounds, steps = (int(word) for word in (*sys.argv[1:], *map(str, (ROUNDS, STEPS)[len(sys.argv) - 1 :])))
    config = override(recipe("smoke").config, SETTINGS)
    rows: list[dict[bool, tuple[Seconds, list[Seconds]]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            order = (True, False) if number % 2 else (False, True)
            rows.append({saving: train(config, steps, Path(folder) / f"{number}-{saving}", saving) for saving in order})
        files = sorted(Path(folder).glob("0-True/checkpoints/step-*/*"))
        size = sum(file.stat().st_size for file in files) / max(len({file.parent for file in files}), 1)
    print(f"{rounds} rounds of {steps} steps, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{statistics.fmean(len(row[True][1]) for row in rows):.1f} saves in a run, {size / 1e6:.1f} MB each")
    for name, at in (("wall", 0), ("processor", 1)):
        step = statistics.median(row[False][0][at] for row in rows) / steps
        more = [100 * (row[True][0][at] / row[False][0][at] - 1) for row in rows]
        shares = [100 * sum(save[at] for save in row[True][1]) / row[True][0][at] for row in rows]
        print(f"{name}: {1e3 * step:.0f} ms a step; with saves {spread(more)} more; in saves {spread(shares)}")


if __name__ == "__main__":
    main()
