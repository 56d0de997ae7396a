"""Where one piece of an experiment is done: a search, a training, or the measurement on the test split, in run folders.

Run folders resume, so a piece that was interrupted anywhere goes on where its last checkpoint stands.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.data.records import People
from posefabric.data.sources import Where, describe, open_people
from posefabric.engine.evaluate import predict_people
from posefabric.engine.inheritance import supernet_of
from posefabric.engine.scoring import Scoring
from posefabric.engine.search import search
from posefabric.engine.train import build_net, train
from posefabric.errors import UserError
from posefabric.evaluation.figures import figures
from posefabric.evaluation.persons import METRICS, headline_metric, person_scores
from posefabric.experiments.arms import Nets, search_config, train_config
from posefabric.experiments.kinds import Random
from posefabric.experiments.spec import Spec
from posefabric.experiments.units import Unit, source_of, trainings
from posefabric.predictor import load
from posefabric.runs import Run, write_atomic

Facts = dict[str, Any]
"""What the study records of a piece: `score`, `metric`, `macs`, `parameters`, `folder`."""


class Bench:
    """An experiment's data, opened once, and the folder that its runs lie in."""

    def __init__(self, spec: Spec, output: Path) -> None:
        self.spec, self.output = spec, output
        self._where = Where(spec.images, spec.category)
        self._people: dict[str, People] = {}

    @cached_property
    def nets(self) -> Nets:
        return Nets(self.spec, self.people("train").skeleton)

    def people(self, split: str) -> People:
        """One split, read once. An empty one raises `UserError("bad-dataset")`."""
        if split not in self._people:
            people = open_people(self.spec.data, split, self.spec.base_config().data, self._where)
            if len(people) == 0:
                raise UserError(
                    "bad-dataset", f"{self.spec.data} has no persons in its split '{split}'", "one at least"
                )
            self._people[split] = people
        return self._people[split]

    def folder(self, unit: Unit) -> Path:
        return self.output / "trials" / unit.name

    def do(self, unit: Unit) -> Facts:
        """Do a piece of work; what the study records of it."""
        if unit.stage == "test":
            return self._test()
        return self._search(unit) if unit.stage == "search" else self._train(unit)

    def found(self, arm: str, seed: int) -> Architecture:
        """The net that a finished search derived."""
        return Run(self.folder(Unit(arm, seed, "search"))).architecture()

    def _search(self, unit: Unit) -> Facts:
        config = search_config(self.spec, unit.arm, unit.seed)
        run = Run.start(self.folder(unit), "search", config.data_form(), describe(self.spec.data, self._where))
        if not run.finished:
            whole = self.nets.supernet(unit.arm, unit.seed)
            search(run, config, whole, self.people("train"), self.people("val"))
        found = run.figures()
        mixture = {key.removeprefix("mixture/"): value for key, value in found.items()}
        facts = self._facts(unit, mixture | found)
        inherited = inherited_score(found, facts["metric"])
        return facts | ({} if inherited is None else {"supernet_score": inherited})

    def _train(self, unit: Unit) -> Facts:
        net = self.nets.net(unit.arm, unit.seed, self.found)
        config = train_config(self.spec, unit.arm, unit.seed, unit.train_seed).with_net(net)
        data = describe(self.spec.data, self._where) | {"architecture": documents.to_data(net), "weights": None}
        run = Run.start(self.folder(unit), "train", config.data_form(), data)
        if not run.finished:
            train(run, config, build_net(net, config), (self.people("train"), self.people("val")))
        self._measure(unit, "val")
        return self._facts(unit, run.figures()) | self._supernet_score(unit)

    def _supernet_score(self, unit: Unit) -> Facts:
        """Of a random net that is ranked by an arm: what it is worth with the weights of that arm's supernet."""
        arm, seed = source_of(self.spec, unit)
        if arm is None or not isinstance(self.spec.all_arms()[unit.arm], Random):
            return {}
        search = Run(self.folder(Unit(arm, seed, "search")))
        supernet = supernet_of(search, self.nets.supernet(arm, seed))
        scoring = Scoring(supernet, search.config, self.people("train"))
        return {"supernet_score": scoring(self.nets.chosen(unit.arm, unit.seed, self.found))}

    def _test(self) -> Facts:
        """Measure every trained net on the test split; those whose training failed are left out."""
        measured = {}
        for unit in trainings(self.spec):
            folder = self.folder(unit)
            if (folder / "run.json").is_file() and Run(folder).finished:
                measured[unit.name] = self._measure(unit, "test")[self._metric(Run(folder).figures())]
        return {"score": float(np.mean(list(measured.values()))), "scores": measured}

    def _measure(self, unit: Unit, split: str) -> Mapping[str, float]:
        """The figures of a trained net on a split; what each person contributes lies beside it in `<split>.npz`."""
        predictor = load(self.folder(unit))
        people = self.people(split)
        found = predict_people(predictor.net, people, predictor.config, predictor.device)
        measured = figures(people.truth(), found)
        persons = person_scores(self._metric(measured), people.truth(), found)
        packed = io.BytesIO()
        np.savez(packed, ids=persons.annotation_ids, scores=persons.scores, weights=persons.weights)
        write_atomic(self.folder(unit) / f"{split}.npz", packed.getvalue())
        return measured

    def _facts(self, unit: Unit, measured: Mapping[str, Any]) -> Facts:
        metric = self._metric(measured)
        kept = {key: measured[key] for key in ("macs", "parameters")}
        return {"score": measured[metric], "metric": metric, **kept, "folder": unit.name}

    def _metric(self, measured: Mapping[str, Any]) -> str:
        metric = self.spec.metric or headline_metric(measured)
        if metric is None or metric not in measured:
            known = ", ".join(name for name in METRICS if name in measured) or "none; no keypoint is labelled"
            raise UserError("missing-keypoints", f"the metric {metric or 'of the table'}", known)
        return metric


def inherited_score(found: Mapping[str, Any], metric: str) -> float | None:
    """What a search's net scored before training of its own; None of partial channels, where it inherits nothing."""
    score: float | None = found.get(f"recalibrated/{metric}", found.get(metric))
    return score
