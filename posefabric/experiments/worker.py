"""A worker: takes pieces of an experiment from the study until nothing is left, and records what became of each.

Any number of workers, on one machine or many, share a study; what they share besides is the output folder.
"""

from __future__ import annotations

import logging
import os
import platform
import time
import traceback

import optuna

from posefabric.errors import UserError
from posefabric.experiments.bench import Bench
from posefabric.experiments.spec import Spec
from posefabric.experiments.study import ERROR, FACTS, SECONDS, Progress, Study
from posefabric.experiments.units import Unit, units

logger = logging.getLogger(__name__)

POLL_S = 1.0
"""How often a worker without work looks whether there is some."""


class Worker:
    """Takes from one study."""

    def __init__(self, spec: Spec, study: Study) -> None:
        self.spec, self.study = spec, study
        self.bench = Bench(spec, study.output)
        self._met: set[Unit] = set()

    def work(self) -> Progress:
        """Work until everything is done or has failed, waiting for others where they may still leave something over."""
        _ = self.bench.nets  # an arm that cannot be built is told now
        while True:
            self.study.take_back()
            self.study.enqueue()
            progress = self.study.progress()
            if progress.waiting:
                self._take()
            elif progress.running:
                self._wait(progress)
            else:
                return progress

    def _take(self) -> None:
        """Do what waits longest; an error of its own ends a trial, not the worker."""
        try:
            self.study.optuna.optimize(self._do, n_trials=1, catch=(Exception,))
        except KeyboardInterrupt:
            self.study.give_back()
            raise
        except ValueError:
            if self.study.is_mine():
                raise
            logger.warning("the trial was taken over: this worker was silent for more than %d s", self.spec.grace_s)

    def _do(self, trial: optuna.Trial) -> float:
        unit = self.study.unit_of(trial)
        if unit is None or self.study.is_double(trial):
            raise optuna.TrialPruned
        self.study.current = trial.number
        trial.set_user_attr("worker", f"{platform.node()}:{os.getpid()}")
        logger.info("%s: begun (%s)", unit.name, self._count())
        began = time.monotonic()
        try:
            facts = self.bench.do(unit)
        except Exception as error:
            trial.set_user_attr(SECONDS, time.monotonic() - began)
            said = str(error) if isinstance(error, UserError) else traceback.format_exc()
            trial.set_user_attr(ERROR, said)
            logger.warning("%s: failed: %s", unit.name, said)
            raise
        trial.set_user_attr(SECONDS, time.monotonic() - began)
        trial.set_user_attr(FACTS, facts)
        logger.info("%s: %s %.4g", unit.name, facts.get("metric", "score"), facts["score"])
        return float(facts["score"])

    def _count(self) -> str:
        return f"{len(self.study.progress().done)} of {len(units(self.spec))} done"

    def _wait(self, progress: Progress) -> None:
        """Others are at work. One who died before its first sign of life never falls silent: it is given one."""
        self.study.sign_for(progress.running - self._met)
        self._met |= progress.running
        time.sleep(POLL_S)
