"""A run's checkpoints as it goes: when one is written, which stays, and where a resume begins.

A checkpoint is written before every validation, and in between as often as that costs at most 2 % of the time.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from posefabric import documents, ranks
from posefabric.checkpoints import (
    FOLDER,
    Best,
    best,
    forget_checkpoints,
    latest_checkpoint,
    mark_best,
    read_checkpoint,
    remove_strays,
    save_checkpoint,
)
from posefabric.errors import UserError
from posefabric.models.net import Net
from posefabric.progress import HEADLINES
from posefabric.runs import Run

logger = logging.getLogger(__name__)

SHARE = 0.02
"""Of the time, what saving may cost between validations."""


class Learner(Protocol):
    """What the loop drives."""

    @property
    def step(self) -> Callable[..., dict[str, float]]:
        """Called with the batches of a step, and `step=`."""
        ...

    @property
    def bare_net(self) -> Net:
        """The net that it teaches."""
        ...

    def slow_down(self, factor: float) -> None:
        """Multiply what the configuration says of learning rates."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Keeper:
    """Saves and restores one learner of one run."""

    def __init__(self, run: Run, learner: Learner) -> None:
        self.run, self.learner = run, learner
        self.folder = Path(ranks.from_first(str(run.path.resolve())))
        self._saved_at = time.monotonic()
        self._cost = 0.0
        self._begun = False
        ranks.first_does(lambda: remove_strays(self.folder))

    def restore(self) -> int:
        """Bring the learner to where the newest whole checkpoint stands; how many steps were done then.

        Where there is none, one is written of what the learner begins with, to which the first steps may go back.
        """
        found = latest_checkpoint(self.folder, self.run.record["config"])
        step, state = found or (0, None)
        ranks.check_same("the checkpoints found", step, step)
        if state is None:
            self._begin()
            return 0
        self._begun = True
        self._load(step, state)
        logger.info("resuming at step %d", step)
        return step

    def _begin(self) -> None:
        if self._begun:
            todo = "Begin anew with another --output."
            raise UserError("bad-run", f"{self.folder / FOLDER} holds no whole checkpoint to go back to", todo=todo)
        self._begun = True
        self.save(0)

    def forget(self, step: int) -> None:
        """Go back behind a step that cannot be made: what it began with is as bad, so an earlier state is restored."""
        ranks.first_does(lambda: forget_checkpoints(self.folder, step))

    def _load(self, step: int, state: dict[str, Any]) -> None:
        """A whole checkpoint may still be one that somebody made by hand."""
        try:
            self.learner.load_state_dict(state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            found = f"the checkpoint of step {step} in {self.run.path} holds no state of this run ({error!r:.300})"
            todo = f"Remove {FOLDER}/step-{step} and repeat the command."
            raise UserError("bad-run", found, todo=todo) from error

    def pays(self) -> bool:
        """Whether so much time has passed that saving again costs little of it."""
        return ranks.rank() == 0 and self._cost <= SHARE * (time.monotonic() - self._saved_at)

    def save(self, step: int) -> None:
        """Write a checkpoint of the state after so many steps, which every rank has."""
        if ranks.rank() > 0:
            return
        began = time.monotonic()
        about = {
            "config": self.run.record["config"],
            "environment": self.run.record["versions"],
            "architecture": documents.to_data(self.learner.bare_net.architecture),
        }
        save_checkpoint(self.folder, step, self.learner.state_dict(), about)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - began

    def rate(self, step: int, measured: Mapping[str, float]) -> None:
        """Mark the checkpoint of a step as the best so far if its headline figure is; never one that is not finite."""
        name = next((name for name in HEADLINES if math.isfinite(measured.get(name, math.nan))), None)
        if name is None or ranks.rank() > 0:
            return
        before = best(self.folder)
        if before is None or before.figure != name or before.step > step or measured[name] > before.value:
            mark_best(self.folder, Best(step, name, measured[name]))

    def restore_best(self) -> None:
        """Bring the learner back to its best validation; where that checkpoint is gone it stays, and says so."""
        ranks.highest(0)  # rank 0 has marked it by now
        marked = best(self.folder)
        state = marked and read_checkpoint(self.folder, marked.step)
        if marked is None or state is None:
            logger.warning("no checkpoint of a best validation is left; the last step's state is kept")
            return
        self._load(marked.step, state)
        logger.info("kept is step %d, the best validation (%s %.3g)", marked.step, marked.figure, marked.value)
