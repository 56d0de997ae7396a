"""The one loop of training and search: steps, validation, checkpoints, resume.

Batches are a function of the step, so a resume continues where the checkpoint stands and repeats nothing.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from lightning_fabric import Fabric as Engine

from posefabric.config import Config, Optimization
from posefabric.data.loader import Batch, CropSettings, training_batches
from posefabric.data.records import People
from posefabric.engine.interruption import Interruption
from posefabric.engine.keeping import Keeper, Learner
from posefabric.errors import UserError
from posefabric.progress import Progress
from posefabric.runs import Run

logger = logging.getLogger(__name__)

Batches = tuple[Batch | None, ...]


@dataclass(frozen=True)
class Plan:
    """How long a run is. Validation and a checkpoint follow every `interval` steps and the last one.

    `leave`: whether the learner is left as the last step made it, or as it was at its best validation.
    """

    num_steps: int
    interval: int
    leave: Literal["last", "best"] = "last"

    def validates(self, step: int) -> bool:
        """Whether validation follows when so many steps are done."""
        return step > 0 and (step % self.interval == 0 or step == self.num_steps)

    @staticmethod
    def of(settings: Optimization, num_persons: int) -> Plan:
        """Whole batches only; fewer persons than one batch raise `UserError("bad-value")`."""
        steps_per_epoch = num_persons // settings.batch_size
        if steps_per_epoch == 0:
            raise UserError(
                "bad-value",
                f"batch size {settings.batch_size}",
                f"at most {num_persons}, the persons",
                "give a smaller one: --set search.batch_size=N of a search, train.batch_size=N of a training",
            )
        return Plan(settings.epochs * steps_per_epoch, settings.validate_every * steps_per_epoch, settings.leave)


def build_engine(config: Config, precision: str) -> Engine:
    """Device and precision of a run."""
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise UserError("bad-value", "accelerator=cuda, and torch sees no GPU", "auto, cpu")
    engine = Engine(accelerator=config.accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    engine.launch()
    return engine


@dataclass(frozen=True)
class Source:
    """Where training batches come from; `indices` names the persons (all unless said)."""

    people: People
    view: CropSettings
    batch_size: int
    num_workers: int
    seed: int
    indices: Sequence[int] | None = None

    def batches(self, plan: Plan, start: int) -> Iterator[Batch]:
        """Those from step `start` to the plan's end."""
        return training_batches(
            self.people,
            self.view,
            indices=self.indices,
            batch_size=self.batch_size,
            seed=self.seed,
            start_step=start,
            num_steps=plan.num_steps - start,
            num_workers=self.num_workers,
        )


def run_steps(
    run: Run,
    learner: Learner,
    plan: Plan,
    batches_from: Callable[[int], Iterator[Batches]],
    validate: Callable[[], dict[str, float]],
) -> None:
    """Drive a learner to the end of its plan, from its newest checkpoint if there is one.

    A signal ends the run after the step at hand, with a checkpoint of it (`engine.interruption`).
    """
    keeper = Keeper(run, learner)
    start = keeper.restore()
    run.cut_rows(start)

    def measure(step: int) -> None:
        measured = validate()
        journal.write(step, "val", measured)
        keeper.rate(step, measured)
        progress.report(step, measured)

    with (
        Interruption() as interruption,
        _Journal(run, start) as journal,
        Progress(run.record["command"], plan.num_steps, start) as progress,
    ):
        if plan.validates(start) and not any(row["step"] == start and row["split"] == "val" for row in run.rows()):
            measure(start)
        batches = batches_from(start)
        for step in range(start, plan.num_steps):
            with interruption.held():
                row = learner.step(*next(batches), step=step)
                journal.write(step + 1, "train", row)
                if plan.validates(step + 1) or interruption.asked is not None or keeper.pays():
                    keeper.save(step + 1)
            interruption.end_if_asked()
            progress.advance(loss=row["loss"])
            if plan.validates(step + 1):
                measure(step + 1)
    if plan.leave == "best":
        keeper.restore_best()


class _Journal:
    """Logs rows into `metrics.jsonl`, and into `tensorboard/` where TensorBoard is installed."""

    def __init__(self, run: Run, start: int) -> None:
        self.run, self.events = run, None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(run.path / "tensorboard"), purge_step=start + 1)

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.events is not None:
            self.events.close()

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self.run.log({"step": step, "split": split, **values})
        if self.events is not None:
            for name, value in values.items():
                self.events.add_scalar(f"{split}/{name}", value, step)
