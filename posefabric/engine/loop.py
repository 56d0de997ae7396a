"""The one loop of training and search: steps, validation, checkpoints, resume.

Batches are a function of the step, so a resume continues where the checkpoint stands and repeats nothing.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric as Engine

from posefabric.checkpoints import latest_checkpoint, save_checkpoint
from posefabric.config import Config
from posefabric.data.loader import Batch, CropSettings, training_batches
from posefabric.data.records import People
from posefabric.errors import UserError
from posefabric.progress import Progress
from posefabric.runs import Run
from posefabric.settings import Optimization

logger = logging.getLogger(__name__)

Batches = tuple[Batch | None, ...]


class Learner(Protocol):
    """What the loop drives."""

    @property
    def step(self) -> Callable[..., dict[str, float]]:
        """Called with the batches of a step, and `step=`."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Watch(Protocol):
    """What looks on while a learner learns."""

    def begin(self, start: int) -> None:
        """Before the first step of a session; what was seen after `start` steps is forgotten."""

    def see(self, step: int, figures: Mapping[str, float], *, validated: bool) -> None:
        """After `step` steps, the last of which measured these figures; `validated`: a checkpoint follows."""


@dataclass(frozen=True)
class Plan:
    """How long a run is. Validation and a checkpoint follow every `interval` steps and the last one."""

    num_steps: int
    interval: int

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
        return Plan(settings.epochs * steps_per_epoch, settings.validate_every * steps_per_epoch)


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
    watch: Watch | None = None,
) -> None:
    """Drive a learner to the end of its plan, from its newest checkpoint if there is one."""
    start = 0
    if (checkpoint := latest_checkpoint(run.path)) is not None:
        start, state = checkpoint
        learner.load_state_dict(state)
        logger.info("resuming at step %d of %d", start, plan.num_steps)
    run.cut_rows(start)
    if watch is not None:
        watch.begin(start)
    with _Journal(run, start) as journal, Progress(run.record["command"], plan.num_steps, start) as progress:
        batches = batches_from(start)
        for step in range(start, plan.num_steps):
            row = learner.step(*next(batches), step=step)
            journal.write(step + 1, "train", row)
            progress.advance(loss=row["loss"])
            validated = (step + 1) % plan.interval == 0 or step + 1 == plan.num_steps
            if watch is not None:
                watch.see(step + 1, row, validated=validated)
            if validated:
                measured = validate()
                journal.write(step + 1, "val", measured)
                save_checkpoint(run.path, step + 1, learner.state_dict())
                progress.report(step + 1, measured)


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
