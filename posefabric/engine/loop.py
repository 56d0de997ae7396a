"""The one loop of training and search: steps, validation, checkpoints, resume.

Batches are a function of the step, so a resume continues where the checkpoint stands and repeats nothing.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from lightning_fabric import Fabric as Engine

from posefabric import ranks
from posefabric.checkpoints import tensors_digest
from posefabric.config import Config
from posefabric.data.loader import Batch, CropSettings, training_batches
from posefabric.data.records import People
from posefabric.engine.divergence import check_finite, is_finite, note_divergence, note_left_out, rate_factor
from posefabric.engine.exactness import make_deterministic, note_exactness
from posefabric.engine.interruption import Interruption
from posefabric.engine.keeping import Keeper, Learner
from posefabric.errors import UserError
from posefabric.models.net import PoseNet
from posefabric.progress import Progress
from posefabric.runs import Run
from posefabric.settings import Optimization

logger = logging.getLogger(__name__)

SMALLER = "Give smaller batches: search.batch_size, train.batch_size or evaluation.batch_size."

Batches = tuple[Batch | None, ...]


class Watch(Protocol):
    """What looks on while a learner learns."""

    def begin(self, start: int) -> None:
        """Before the first step of a session; what was seen after `start` steps is forgotten."""

    def see(self, step: int, figures: Mapping[str, float], *, validated: bool) -> None:
        """After `step` steps, the last of which measured these figures; `validated`: a checkpoint follows."""


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
        """Whole batches only; fewer persons than one batch, or a batch that the ranks cannot share evenly, raise
        `UserError("bad-value")`."""
        steps_per_epoch = num_persons // settings.batch_size
        if steps_per_epoch == 0:
            raise UserError(
                "bad-value",
                f"batch size {settings.batch_size}",
                f"at most {num_persons}, the persons",
                "give a smaller one: --set search.batch_size=N of a search, train.batch_size=N of a training",
            )
        if settings.batch_size % ranks.size():
            found = f"batch size {settings.batch_size} of {ranks.size()} processes together"
            raise UserError("bad-value", found, f"a multiple of {ranks.size()}: each has an equal part of every batch")
        steps = settings.epochs * steps_per_epoch
        return Plan(min(steps, settings.max_steps or steps), settings.validate_every * steps_per_epoch, settings.leave)


def build_engine(config: Config, precision: str) -> Engine:
    """Device and precision of a run."""
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise UserError("bad-value", "accelerator=cuda, and torch sees no GPU", "auto, cpu")
    if config.deterministic:
        make_deterministic()
    shared = ranks.size() > 1 and config.accelerator != "cpu" and torch.cuda.is_available()
    devices = [ranks.local_rank()] if shared else 1
    engine = Engine(accelerator=config.accelerator, devices=devices, precision=precision)  # type: ignore[arg-type]
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

    def batches(self, plan: Plan, start: int, part: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """Those from step `start` to the plan's end; `part` (i, n) gives the i-th n-th of each."""
        return training_batches(
            self.people,
            self.view,
            indices=self.indices,
            batch_size=self.batch_size,
            seed=self.seed,
            start_step=start,
            num_steps=plan.num_steps - start,
            num_workers=self.num_workers,
            part=part,
        )

    def my_part(self, plan: Plan, start: int) -> Iterator[Batch]:
        """What of those batches this rank sees."""
        return self.batches(plan, start, (ranks.rank(), ranks.size()))


def run_steps(
    run: Run,
    learner: Learner,
    plan: Plan,
    batches_from: Callable[[int], Iterator[Batches]],
    validate: Callable[[], dict[str, float]],
    watch: Watch | None = None,
) -> None:
    """Drive a learner to the end of its plan, from its newest checkpoint if there is one.

    A signal ends the run after the step at hand, with a checkpoint of it (`engine.interruption`); numbers that are not
    finite send it back to the last checkpoint, at half the rate (`engine.divergence`).
    """
    note_exactness(run, learner.bare_net)
    keeper = Keeper(run, learner)
    with Interruption() as interruption:
        drive = _Drive(run, learner, plan, keeper, interruption, watch)
        try:
            while not drive.attempt(keeper.restore(), batches_from, validate):
                pass
        except torch.OutOfMemoryError as error:  # of alpha and beta's own step, or of a validation
            raise UserError("out-of-memory", str(error), todo=SMALLER) from error
    if plan.leave == "best":
        keeper.restore_best()


@dataclass(frozen=True)
class _Drive:
    """What an attempt to reach the end of a plan stands on."""

    run: Run
    learner: Learner
    plan: Plan
    keeper: Keeper
    interruption: Interruption
    watch: Watch | None

    def attempt(
        self, start: int, batches_from: Callable[[int], Iterator[Batches]], validate: Callable[[], dict[str, float]]
    ) -> bool:
        """Whether the end was reached from `start`; if not, what went wrong is noted."""
        self.run.cut_rows(start)
        self._compare_ranks(start, whole=True)
        self.learner.slow_down(rate_factor(self.run))
        if self.watch is not None:
            self.watch.begin(start)
        steps = self.plan.num_steps
        with _Journal(self.run, start) as journal, Progress(self.run.record["command"], steps, start) as progress:

            def measure(done: int) -> None:
                measured = validate()
                journal.write(done, "val", measured)
                self.keeper.rate(done, measured)
                progress.report(done, measured)

            if self.plan.validates(start) and not self._is_validated(start):
                measure(start)
            batches = batches_from(start)
            for step in range(start, steps):
                with self.interruption.held():
                    row = self._step(next(batches), step, journal)
                    if row is None:
                        return False
                self.interruption.end_if_agreed()
                progress.advance(loss=row["loss"])
                if self.plan.validates(step + 1):
                    measure(step + 1)
        return True

    def _look_on(self, done: int, row: Mapping[str, float]) -> None:
        """What happens after a step besides learning: it is watched, and saved where that is due or costs little."""
        due = self.plan.validates(done)
        check_finite(self.learner.bare_net, done, whole=due)
        self._compare_ranks(done, whole=due)
        if self.watch is not None:
            self.watch.see(done, row, validated=due)
        asked = self.interruption.agree() or self.keeper.pays()
        if due or (asked and is_finite(self.learner.bare_net)):
            self.keeper.save(done)

    def _compare_ranks(self, done: int, *, whole: bool) -> None:
        """Make sure that every rank holds the same alpha and beta, or the same `whole` net."""
        net = self.learner.bare_net
        if ranks.size() == 1:
            return
        if isinstance(net, PoseNet):
            ranks.check_same("alpha or beta", ranks.fingerprint(net.architecture_parameters()), done)
        if whole:
            ranks.check_same("the nets", int(tensors_digest(net.state_dict())[:15], 16), done)

    def _step(self, batches: Batches, step: int, journal: _Journal) -> dict[str, float] | None:
        """One learning step, logged and looked at; nothing where its numbers are not finite."""
        try:
            row = self.learner.step(*batches, step=step)
            if row.get("skipped"):
                note_left_out(self.run, step, self.learner.bare_net, batches)
            journal.write(step + 1, "train", row)
            self._look_on(step + 1, row)
            return row
        except UserError as error:
            if error.code != "diverged":
                raise
            note_divergence(self.run, step, error, self.learner.bare_net, batches)
            self.keeper.forget(step)
            return None

    def _is_validated(self, step: int) -> bool:
        return any(row["step"] == step and row.get("split") == "val" for row in self.run.rows())


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
