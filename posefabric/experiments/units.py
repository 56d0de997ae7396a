"""How an experiment falls into pieces of work: searches, trainings, and one look at the test split. No torch here.

A unit is a piece that one worker does at a stretch, in a folder of its own. It waits for the units it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from posefabric.experiments.kinds import Random, Searched
from posefabric.experiments.spec import Spec

Stage = Literal["search", "train", "test"]


@dataclass(frozen=True, order=True)
class Unit:
    """One piece: a search of an arm from a seed, or a training of what was found. `test` is for all arms together."""

    arm: str
    seed: int
    stage: Stage
    train_seed: int = 0

    @property
    def name(self) -> str:
        """What the study and its folder call it, such as `A/seed0/train1`."""
        number = f"{self.train_seed}" if self.stage == "train" else ""
        return "test" if self.stage == "test" else f"{self.arm}/seed{self.seed}/{self.stage}{number}"


TEST = Unit("", 0, "test")


def units(spec: Spec) -> list[Unit]:
    """All pieces of an experiment, in the order in which they are wanted: seed by seed, so that all arms grow alike."""
    found = [
        (seed_number, number, unit)
        for number, arm in enumerate(spec.all_arms())
        for seed_number, seed in enumerate(spec.seeds_of(arm))
        for unit in _of_seed(spec, arm, seed)
    ]
    ordered = [unit for _, _, unit in sorted(found, key=lambda entry: entry[:2])]
    return [*ordered, *[TEST] * (spec.split == "test")]


def trainings(spec: Spec) -> list[Unit]:
    """The pieces that end in a trained net."""
    return [unit for unit in units(spec) if unit.stage == "train"]


def needs(spec: Spec, unit: Unit) -> list[Unit]:
    """What must be finished before a unit can begin; the test split is opened when nothing else is left."""
    if unit.stage == "test":
        return [other for other in units(spec) if other.stage != "test"]
    if unit.stage == "search":
        return []
    return [Unit(arm, seed, "search") for arm, seed in [source_of(spec, unit)] if arm is not None]


def source_of(spec: Spec, unit: Unit) -> tuple[str | None, int]:
    """The arm and the seed of the search that a training stands on; draws take the seeds in turns."""
    arm = spec.all_arms()[unit.arm]
    seed = spec.seeds[unit.seed % len(spec.seeds)] if isinstance(arm, Random) else unit.seed
    return (unit.arm if isinstance(arm, Searched) else arm.source), seed


def ready(spec: Spec, done: Collection[Unit], failed: Collection[Unit]) -> list[Unit]:
    """The unfinished units that may begin. One that needs a failed one never may, but the test goes on without it."""
    settled = {*done, *failed, *_hopeless(spec, failed)}
    return [
        unit
        for unit in units(spec)
        if unit not in settled
        and all(other in (settled if unit.stage == "test" else done) for other in needs(spec, unit))
    ]


def missing(spec: Spec, done: Collection[Unit], failed: Mapping[Unit, str]) -> dict[str, str]:
    """Unit -> why the table lacks it: its own error, that of what it needs, or that it is not done yet."""
    said = {}
    for unit in units(spec):
        if unit in failed:
            said[unit.name] = failed[unit]
        elif unit not in done:
            broken = [other.name for other in needs(spec, unit) if other in failed] if unit.stage != "test" else []
            said[unit.name] = f"needs {broken[0]}, which failed" if broken else "not done yet"
    return said


def _hopeless(spec: Spec, failed: Collection[Unit]) -> set[Unit]:
    return {
        unit for unit in units(spec) if unit.stage != "test" and any(other in failed for other in needs(spec, unit))
    }


def _of_seed(spec: Spec, arm: str, seed: int) -> list[Unit]:
    searched = isinstance(spec.all_arms()[arm], Searched)
    trained = [Unit(arm, seed, "train", train_seed) for train_seed in spec.train_seeds_of(arm)]
    return [*[Unit(arm, seed, "search")] * searched, *trained]
