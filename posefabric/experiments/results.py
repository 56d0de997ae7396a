"""What an experiment has so far: every trained net's figures, what each person contributed, hours, and what is missing.

Where it stands in the walk: between the study with its run folders and the table. It reads and changes nothing.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from posefabric.errors import UserError
from posefabric.evaluation.persons import PersonScores
from posefabric.experiments.spec import Spec
from posefabric.experiments.study import Progress
from posefabric.experiments.units import TEST, Unit, missing, source_of, trainings

HOUR_S = 3600


@dataclass(frozen=True, eq=False)
class Trained:
    """One trained net. `seed` is that of the search it stands on or is compared with; `score` is on the final split.

    `persons` are None where the run folder is out of reach. `supernet_score` is what the net scored with a supernet's
    weights, before any training of its own.
    """

    unit: Unit
    seed: int
    score: float
    val_score: float
    macs: int
    parameters: int
    hours: float
    supernet_score: float | None
    persons: PersonScores | None


@dataclass(frozen=True, eq=False)
class Results:
    """Arm -> its trained nets, by seed. `on`: the split that the scores are of. Hours are those of all attempts."""

    spec: Spec
    metric: str
    on: str
    arms: Mapping[str, list[Trained]]
    search_hours: Mapping[tuple[str, int], float]
    hours: float
    failed_hours: float
    missing: Mapping[str, str]

    def by_seed(self, arm: str) -> dict[int, list[Trained]]:
        """Seed -> the nets of an arm."""
        found: dict[int, list[Trained]] = {}
        for net in self.arms[arm]:
            found.setdefault(net.seed, []).append(net)
        return dict(sorted(found.items()))

    def means(self, arm: str) -> list[float]:
        """The mean score of every seed."""
        return [mean_score(nets) for nets in self.by_seed(arm).values()]


def mean_score(nets: Sequence[Trained]) -> float:
    """Over nets."""
    return float(np.mean([net.score for net in nets]))


def mean_persons(nets: Sequence[Trained]) -> Float[np.ndarray, " N"] | None:
    """Every person's score, the mean over nets; None where a net's are out of reach."""
    rows = [net.persons.scores for net in nets if net.persons is not None]
    return np.mean(rows, axis=0) if len(rows) == len(nets) else None


def gather(spec: Spec, progress: Progress, output: Path) -> Results:
    """What is done so far."""
    tested = progress.done.get(TEST, {}).get("scores")
    arms: dict[str, list[Trained]] = {name: [] for name in spec.all_arms()}
    for unit in trainings(spec):
        if unit in progress.done and (tested is None or unit.name in tested):
            score = progress.done[unit]["score"] if tested is None else tested[unit.name]
            arms[unit.arm].append(_trained(spec, progress, unit, score, output))
    return Results(
        spec=spec,
        metric=next((facts["metric"] for facts in progress.done.values() if "metric" in facts), spec.metric or ""),
        on="val" if tested is None else "test",
        arms=arms,
        search_hours={(u.arm, u.seed): s / HOUR_S for u, s in progress.seconds.items() if u.stage == "search"},
        hours=sum(progress.seconds.values()) / HOUR_S,
        failed_hours=progress.failed_seconds / HOUR_S,
        missing=missing(spec, progress.done, progress.failed),
    )


def _trained(spec: Spec, progress: Progress, unit: Unit, score: float, output: Path) -> Trained:
    facts = progress.done[unit]
    search = progress.done.get(Unit(unit.arm, unit.seed, "search"), {})
    split = "test" if TEST in progress.done else "val"
    return Trained(
        unit=unit,
        seed=source_of(spec, unit)[1],
        score=score,
        val_score=facts["score"],
        macs=facts["macs"],
        parameters=facts["parameters"],
        hours=progress.seconds[unit] / HOUR_S,
        supernet_score=facts.get("supernet_score", search.get("supernet_score")),
        persons=_persons(output / "trials" / facts["folder"] / f"{split}.npz"),
    )


def _persons(file: Path) -> PersonScores | None:
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as packed:
            return PersonScores(packed["ids"], packed["scores"], packed["weights"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError("bad-run", f"{file} is damaged: {error}", "a file written by an experiment") from error
