"""The configuration of a run: all sections (`posefabric.settings`) in one; all mistakes are reported at once.

A recipe (`posefabric.recipes`) gives a `Config`; a YAML file and `a.b=v` overrides change it; the run folder records
the result whole. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.errors import UserError
from posefabric.handmade import HandMade
from posefabric.settings import (
    BackboneSettings,
    DataSettings,
    EvaluationSettings,
    ModelSettings,
    SearchSettings,
    Settings,
    TrainSettings,
)
from posefabric.texts import parse_yaml, read_yaml


class Config(Settings):
    """Everything a run depends on, besides its data.

    `deterministic` makes equal runs equal to the last bit on a GPU, too, and slower; on a CPU they are without it.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = False
    model: ModelSettings = ModelSettings()
    backbone: BackboneSettings = BackboneSettings()
    data: DataSettings = DataSettings()
    search: SearchSettings = SearchSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def data_form(self) -> dict[str, Any]:
        """Plain data, as recorded in a run folder."""
        return self.model_dump(mode="json")

    def with_net(self, net: Architecture | HandMade) -> Config:
        """The same with what an architecture decides."""
        decided = {key: getattr(net, key) for key in ("input_hw", "vector_dim", "activation", "fusion")}
        return self.model_copy(update={"model": self.model.model_copy(update=decided)})


def read_config(path: Path, base: Config) -> Config:
    """A YAML file of the keys that differ from `base`."""
    data = read_yaml(path, code="bad-config")
    if not isinstance(data, Mapping):
        raise UserError("bad-config", f"{path} holds {type(data).__name__}", "a mapping of sections")
    return merge(base, data, str(path))


def override(base: Config, assignments: Sequence[str]) -> Config:
    """Apply `a.b=v` assignments; values are typed, and every unknown key is reported with a suggestion."""
    changes: dict[str, Any] = {}
    for assignment in assignments:
        if "=" not in assignment:
            raise UserError("bad-config", f"--set {assignment}", "key.subkey=value")
        changes = _merged(changes, _assigned(assignment))
    return merge(base, changes, "--set")


def _assigned(assignment: str) -> dict[str, Any]:
    """`a.b=v` as nested data; the value is YAML."""
    key, _, text = assignment.partition("=")
    value = parse_yaml(text, code="bad-config", where=f"--set {assignment}") if text else None
    for step in reversed(key.split(".")):
        value = {step: value}
    assert isinstance(value, dict)
    return value


def merge(base: Config, changes: Mapping[str, Any], where: str) -> Config:
    """`base` with the changed keys, checked as a whole."""
    return documents.from_data(Config, _merged(base.data_form(), changes), code="bad-config", where=where)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = _merged(below, value)
        merged[key] = value
    return merged
