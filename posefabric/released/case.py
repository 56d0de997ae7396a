"""A net of the authors' code described by a file beside it, `case.json`: the small reference nets, for instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from posefabric import documents
from posefabric.architecture import supernet
from posefabric.backbone import fabric_backbone
from posefabric.documents import STRICT
from posefabric.errors import UserError, unknown_name
from posefabric.released.names import THEIR_MPII_KEYPOINTS, THEIR_OPERATIONS, Naming
from posefabric.released.reading import Imported, read_net
from posefabric.skeletons import COCO17, MPII16
from posefabric.space import SearchSpace


@dataclass(frozen=True)
class FabricCase:
    """One fabric of `case.json`: a head says `drop_first`, a backbone `keep_first`."""

    num_layers: int
    operations: tuple[str, ...]
    num_nodes: int
    base_factor: int
    channels: tuple[int, ...]
    keep_first: int | None = None
    drop_first: int | None = None
    share_operations: bool = True

    __pydantic_config__ = STRICT

    def space(self) -> SearchSpace:
        for name in self.operations:
            if name not in THEIR_OPERATIONS:
                raise unknown_name("operation of the authors", name, tuple(THEIR_OPERATIONS))
        return SearchSpace(
            num_layers=self.num_layers,
            first_layer=self.drop_first or 0,
            last_layer=self.keep_first or self.num_layers,
            base_channels=self.base_factor,
            num_nodes=self.num_nodes,
            operations=tuple(THEIR_OPERATIONS[name] for name in self.operations),
            share_operations=self.share_operations,
        )


@dataclass(frozen=True)
class Case:
    """The configuration beside a checkpoint: `parts` gives keypoint indices in the authors' own order."""

    dataset: Literal["coco", "mpii"]
    num_parts: int
    num_keypoints: int
    parts: Mapping[str, tuple[int, ...]]
    backbone: FabricCase
    head: FabricCase
    vector: bool
    vector_dim: int
    fusion: Literal["sum", "mean"]
    input_shape: tuple[int, int, int, int]
    mode: str

    __pydantic_config__ = STRICT

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Keypoint names in the authors' order."""
        return COCO17.keypoints if self.dataset == "coco" else THEIR_MPII_KEYPOINTS

    @property
    def partition(self) -> dict[str, tuple[str, ...]]:
        """Part -> its keypoints, both in the authors' order."""
        known = range(len(self.keypoints))
        if stray := [index for indices in self.parts.values() for index in indices if index not in known]:
            raise UserError("bad-weights", f"the case has parts of the keypoints {stray}", f"0 to {known[-1]}")
        return {_ours(theirs): tuple(self.keypoints[i] for i in indices) for theirs, indices in self.parts.items()}


def read_case(path: Path) -> Case:
    return documents.read_json(Case, path, code="bad-weights")


def import_case(case: Case, tensors: Mapping[str, Tensor]) -> Imported:
    """Read a net whose backbone is a fabric. Raises `UserError("bad-weights")` for whatever does not fit."""
    whole = supernet(
        skeleton=COCO17 if case.dataset == "coco" else MPII16,
        partition=case.partition,
        backbone=fabric_backbone(case.backbone.space()),
        space=case.head.space(),
        input_hw=(case.input_shape[2], case.input_shape[3]),
        vector_dim=case.vector_dim,
        activation="squash" if case.vector else "linear",
        fusion=case.fusion,
    )
    return read_net(whole, Naming({_ours(theirs): theirs for theirs in case.parts}), tensors, of="that of the case")


def _ours(part: str) -> str:
    return part.removesuffix("_part")
