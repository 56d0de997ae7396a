"""The kinds of arms of an experiment: different ways to a net of the same cost, as data. No torch here.

How a kind becomes an architecture is `arms`' business. A kind that needs another arm names it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from posefabric.settings import Count, Settings, Text


class Arm(Settings):
    """What every arm may say: keys of the configuration that are its own, and how often its nets are trained.

    `parts`, `vector_dim`, `activation` and `fusion` are short for `set: [model.parts=..., ...]`.
    """

    parts: Text | None = None
    vector_dim: Count | None = None
    activation: str | None = None
    fusion: str | None = None
    set: tuple[str, ...] = ()
    train_seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None

    @property
    def kind_name(self) -> str:
        """What `kind` says in the file."""
        return str(getattr(self, "kind", ""))

    @property
    def source(self) -> str | None:
        """The arm whose searches it needs; None if it needs nobody's."""
        return None

    def assignments(self) -> tuple[str, ...]:
        """What differs from the recipe, as `a.b=v`."""
        short = ((key, getattr(self, key)) for key in ("parts", "vector_dim", "activation", "fusion"))
        return (*self.set, *(f"model.{key}={value}" for key, value in short if value is not None))


class Searched(Arm):
    """The claim: a genotype of its own for every part."""

    kind: Literal["searched"] = "searched"
    strategy: str | None = None
    derive: str | None = None

    def assignments(self) -> tuple[str, ...]:
        short = (("strategy", self.strategy), ("derive", self.derive))
        return (*super().assignments(), *(f"search.{key}={value}" for key, value in short if value is not None))


class Shared(Searched):
    """One searched genotype for all parts, whose mixtures are tied during the search."""

    kind: Literal["shared"] = "shared"  # type: ignore[assignment]


class WholeBody(Searched):
    """One searched fabric for the whole body, as dear as all parts together."""

    kind: Literal["whole_body"] = "whole_body"  # type: ignore[assignment]
    parts: Literal["1"] = "1"


class RandomGroups(Searched):
    """Parts of the same sizes whose keypoints are drawn, anew for every seed; mirror pairs are not torn."""

    kind: Literal["random_groups"] = "random_groups"  # type: ignore[assignment]


class Found(Arm):
    """What another arm found, changed: it needs the searches of the arm `of`."""

    of: str = "A"

    @property
    def source(self) -> str | None:
        return self.of


class Permuted(Found):
    """Its genotypes given to other parts: a derangement drawn by the seed."""

    kind: Literal["permuted"] = "permuted"


class Head(Found):
    """Its genotypes under another head."""

    kind: Literal["head"] = "head"


class Uniform(Arm):
    """No search: the whole fabric, every choice with the weight 1."""

    kind: Literal["uniform"] = "uniform"


class MadeByHand(Arm):
    """No search: a hand-made head in the fabrics' place, a kind of `posefabric.handmade.HEADS`."""

    kind: Literal["handmade"] = "handmade"
    head: str


class Random(Arm):
    """Genotypes drawn at random. `ranked_by`: the searched arm in whose supernets the draws are scored, too."""

    kind: Literal["random"] = "random"
    draws: Count = 20
    ranked_by: str | None = None

    @property
    def source(self) -> str | None:
        return self.ranked_by


class Grid(Arm):
    """Every strategy with every derivation, each an arm `<name>-<strategy>-<derivation>`."""

    kind: Literal["grid"] = "grid"
    strategies: Annotated[tuple[str, ...], Field(min_length=1)]
    derivations: Annotated[tuple[str, ...], Field(min_length=1)]

    def unfolded(self, name: str) -> dict[str, Arm]:
        """Name -> searched arm."""
        common = {key: getattr(self, key) for key in Arm.model_fields}
        return {
            f"{name}-{strategy}-{derive}": Searched(**common, strategy=strategy, derive=derive)
            for strategy in self.strategies
            for derive in self.derivations
        }


AnyArm = Annotated[
    Searched | Shared | WholeBody | RandomGroups | Permuted | Head | Uniform | MadeByHand | Random | Grid,
    Field(discriminator="kind"),
]
