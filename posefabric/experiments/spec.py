"""What an experiment is: one recipe, one budget, several arms, and the contrasts that were named beforehand.

Where it stands in the walk: before it. A specification is a YAML file; all its mistakes are told at once. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from posefabric import documents
from posefabric.budget import checked_macs
from posefabric.config import Config, override
from posefabric.errors import UserError, suggestion, unknown_name
from posefabric.evaluation.persons import METRICS
from posefabric.experiments.kinds import AnyArm, Arm, Grid, Random, Searched, Shared
from posefabric.recipes import recipe
from posefabric.settings import Count, Settings, Text
from posefabric.texts import read_yaml

PRIMARY = (("A", "B"), ("A", "C"), ("A", "D"), ("A", "E"), ("A", "F"))
"""The contrasts that are named unless a specification names its own, where it has these arms."""

Seeds = tuple[Annotated[int, Field(ge=0)], ...]


class Spec(Settings):
    """An experiment.

    `recipe` and `set` (a.b=v) are what all arms share, `data`, `images` and `category` what they learn from; paths are
    relative to the file. `budget`: MACs that the nets of all arms have, by their widths, to 2 %.

    `seeds` are those of the searches. Every net that was found is trained from scratch once for each of `train_seeds`.
    `arms` are `kinds`; `contrasts` the differences of two of them that are tested, with Holm's correction over all.

    `metric`: what the table compares; PCK@0.2 or what the data give unless said. `split`: whom the final figures are
    measured on. Everything is chosen on `val`; `test` is opened once, when all else is done.

    `storage`: the URL of the study's database (SQLAlchemy); an SQLite file in the output folder unless said. `name`
    tells experiments in one database apart; the file's name unless said. A worker says every `heartbeat_s` seconds that
    it lives; after `grace_s` seconds of silence its trial is taken by another one, up to `retries` times.
    """

    arms: Annotated[Mapping[str, AnyArm], Field(min_length=1)]
    budget: Annotated[Text, AfterValidator(checked_macs)]
    data: str
    recipe: str = "base"
    set: tuple[str, ...] = ()
    images: Path | None = None
    category: Text | None = None
    seeds: Annotated[Seeds, Field(min_length=1)] = (0, 1, 2)
    train_seeds: Annotated[Seeds, Field(min_length=1)] = (0,)
    contrasts: tuple[tuple[str, str], ...] | None = None
    metric: str | None = None
    split: Literal["val", "test"] = "val"
    name: Text = "experiment"
    storage: str | None = None
    heartbeat_s: Count = 30
    grace_s: Count = 120
    retries: Count = 5

    @field_validator("recipe")
    @classmethod
    def _check_recipe(cls, name: str) -> str:
        recipe(name)
        return name

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str | None) -> str | None:
        if metric is not None and metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
        return metric

    @field_validator("seeds", "train_seeds")
    @classmethod
    def _check_seeds(cls, seeds: Seeds) -> Seeds:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed is listed twice")
        return seeds

    @model_validator(mode="after")
    def _check_arms(self) -> Spec:
        problems = [*self._problems_of_settings(), *self._problems_of_arms(), *self._problems_of_contrasts()]
        if problems:
            raise ValueError("\n  ".join(["", *problems]) if len(problems) > 1 else problems[0])
        return self

    def _problems_of_settings(self) -> Iterator[str]:
        config = partial(_problem, lambda assignments: override(recipe(self.recipe).config, assignments))
        shared = config("set", self.set)
        yield from shared
        for name, arm in {} if shared else self.all_arms().items():
            yield from config(f"arms.{name}", (*self.set, *arm.assignments()))

    def _problems_of_arms(self) -> Iterator[str]:
        arms = self.all_arms()
        for name, arm in arms.items():
            if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
                yield f"arms.{name}: a name has letters, digits and -_. alone; it names a folder"
            if arm.source is not None and not isinstance(arms.get(arm.source), Searched):
                searched = [other for other, kind in arms.items() if isinstance(kind, Searched)]
                hint = f"{suggestion(arm.source, searched)}; known: {', '.join(searched) or 'none'}"
                yield f"arms.{name}: '{arm.source}' is no searched arm{hint}"

    def _problems_of_contrasts(self) -> Iterator[str]:
        for pair in self.contrasts or ():
            for name in pair:
                if name not in self.all_arms():
                    yield f"contrasts: unknown arm '{name}'{suggestion(name, self.all_arms())}"
            if pair[0] == pair[1]:
                yield f"contrasts: '{pair[0]}' with itself"

    def all_arms(self) -> dict[str, Arm]:
        """Name -> arm, grids unfolded: `I` becomes `I-first-order-argmax` and so on."""
        arms: dict[str, Arm] = {}
        for name, arm in self.arms.items():
            arms |= arm.unfolded(name) if isinstance(arm, Grid) else {name: arm}
        return arms

    def named_contrasts(self) -> tuple[tuple[str, str], ...]:
        """The contrasts that are corrected for together."""
        if self.contrasts is not None:
            return self.contrasts
        return tuple(pair for pair in PRIMARY if set(pair) <= set(self.arms))

    def base_config(self) -> Config:
        """What all arms share."""
        return override(recipe(self.recipe).config, list(self.set))

    def config(self, arm: str) -> Config:
        """The configuration of an arm, seed apart."""
        chosen = self.all_arms()[arm]
        config = override(self.base_config(), list(chosen.assignments()))
        return config if not isinstance(chosen, Shared) else override(config, ["model.fabric.share_parts=true"])

    def seeds_of(self, arm: str) -> Seeds:
        """The search seeds of an arm; of random architectures the numbers of the draws."""
        chosen = self.all_arms()[arm]
        return tuple(range(chosen.draws)) if isinstance(chosen, Random) else self.seeds

    def train_seeds_of(self, arm: str) -> Seeds:
        """How often a net of an arm is trained; of random architectures once unless said."""
        chosen = self.all_arms()[arm]
        few = self.train_seeds[:1] if isinstance(chosen, Random) else self.train_seeds
        return chosen.train_seeds or few

    def data_form(self) -> dict[str, Any]:
        """Plain data, as the study records it."""
        return self.model_dump(mode="json", exclude={"storage", "heartbeat_s", "grace_s", "retries"})


def read_spec(path: Path) -> Spec:
    """Read a specification. Raises `UserError("bad-config")` that lists every problem."""
    data = read_yaml(path, code="bad-config")
    if not isinstance(data, Mapping):
        raise UserError("bad-config", f"{path} holds {type(data).__name__}", "a mapping; see docs/experiments.md")
    spec = documents.from_data(Spec, {"name": path.stem, **data}, code="bad-config", where=str(path))
    return spec.model_copy(
        update={
            "data": spec.data if Path(spec.data).suffix == "" else str((path.parent / spec.data).resolve()),
            "images": spec.images and (path.parent / spec.images).resolve(),
        }
    )


def _problem(read: Any, where: str, assignments: tuple[str, ...]) -> list[str]:
    try:
        read(assignments)
    except UserError as error:
        return [f"{where}: {error.finding}"]
    return []
