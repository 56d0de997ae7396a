"""The configuration of a run: all sections (`posefabric.settings`) in one; all mistakes are reported at once.

A recipe (`posefabric.recipes`) gives a `Config`; a YAML file and `a.b=v` overrides change it; the run folder records
the result whole. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError

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
    data = documents.read_yaml(path, code="bad-config")
    if not isinstance(data, Mapping):
        raise UserError("bad-config", f"{path} holds {type(data).__name__}", "a mapping of sections")
    return merge(base, data, str(path))


def override(base: Config, assignments: Sequence[str]) -> Config:
    """Apply `a.b=v` assignments; values are typed, and every unknown key is reported with a suggestion."""
    for assignment in assignments:
        if "=" not in assignment:
            raise UserError("bad-config", f"--set {assignment}", "key.subkey=value")
    try:
        changes = OmegaConf.to_container(OmegaConf.from_dotlist(list(assignments)), resolve=False)
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError("bad-config", f"--set {' '.join(assignments)}: {error}", "key.subkey=value") from error
    assert isinstance(changes, dict)
    return merge(base, {str(key): value for key, value in changes.items()}, "--set")


def merge(base: Config, changes: Mapping[str, Any], where: str) -> Config:
    """`base` with the changed keys, checked as a whole."""
    try:
        return Config.model_validate(_merged(base.data_form(), changes))
    except ValidationError as error:
        raise UserError("bad-config", f"{where}: {documents.problems(error, Config)}") from error


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = _merged(below, value)
        merged[key] = value
    return merged
