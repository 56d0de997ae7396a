"""Hand-made nets as data: the controls that a search has to beat, on the same backbones and at the same compute.

Where it stands in the walk: beside the architecture. A hand-made head takes the place of every part's fabric; features,
vectors, fusion, training and measuring are the same. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from posefabric import documents
from posefabric.architecture import (
    WIDEST,
    Activation,
    Architecture,
    check_features,
    check_input,
    check_parts,
    check_vectors,
)
from posefabric.backbone import STEM_STRIDE, Backbone
from posefabric.documents import STRICT
from posefabric.errors import unknown_name
from posefabric.genotype import Genotype, bad_field
from posefabric.skeletons import Partition, Skeleton
from posefabric.space import SearchSpace
from posefabric.texts import parse_json, read_text

SCALES = (4, 8, 16, 32)
"""The strides of a backbone's maps."""


@dataclass(frozen=True)
class Head:
    """One kind of hand-made head: the strides it reads, its published widths, and what the number at an index counts.

    It takes `fewest` to `most` widths. A head `per_part` is published as one for every part of the body, the others
    as one for all.
    """

    source: str
    reads: tuple[int, ...]
    widths: tuple[int, ...]
    label: Callable[[int], str]
    fewest: int
    most: int
    per_part: bool = False


HEADS: dict[str, Head] = {
    "deconvolution": Head(
        source="SimpleBaseline (1804.06208)",
        reads=(32,),
        widths=(256, 256, 256),
        label=lambda index: f"up to 1/{16 >> index}",
        fewest=3,
        most=3,
    ),
    "hrnet_stage4": Head(
        source="HRNet (1902.09212)",
        reads=SCALES,
        widths=(32, 64, 128, 256),
        label=lambda index: f"at 1/{SCALES[index]}",
        fewest=4,
        most=4,
    ),
    "hourglass": Head(
        source="stacked hourglass (1603.06937), one",
        reads=(4,),
        widths=(256, 128, 128, 128, 128),
        label=lambda index: f"in blocks at 1/{2 << index}" if index else "everywhere",
        fewest=3,
        most=8,
    ),
    "residual": Head(
        source="part branches, PNFS (1909.07068) table VI",
        reads=SCALES,
        widths=(400, *(100,) * 8),
        label=lambda index: f"in block {index}" if index else "everywhere",
        fewest=2,
        most=64,
        per_part=True,
    ),
}
"""Name -> kind. Widths count channels: those of the maps, and where they differ, those inside residual blocks."""


@dataclass(frozen=True)
class HandMade:
    """A whole hand-made pose network as data.

    Every part has a `head` of its own, a kind of `HEADS`, with the `widths` that this kind takes; their number is its
    depth where that may vary. All other fields are those of an `Architecture`. Contradictions raise
    `UserError("bad-architecture")` naming the field.
    """

    skeleton: Skeleton
    partition: Partition
    backbone: Backbone
    head: str
    widths: Mapping[str, tuple[int, ...]]
    input_hw: tuple[int, int]
    vector_dim: int = 8
    activation: Activation = "squash"
    fusion: Literal["sum", "mean"] = "sum"
    format: Literal[1] = 1

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        kind = known_head(self.head)
        check_parts(self.skeleton, self.partition)
        if set(self.widths) != set(self.partition):
            raise bad_field("widths", f"has the parts {sorted(self.widths)}", f"{sorted(self.partition)}")
        for part, numbers in self.widths.items():
            if not kind.fewest <= len(numbers) <= kind.most or not 1 <= min(numbers) <= max(numbers) <= WIDEST:
                amount = f"{kind.fewest}" if kind.fewest == kind.most else f"{kind.fewest} to {kind.most}"
                raise bad_field(f"widths.{part}", f"is {numbers}", f"{amount} numbers from 1 to {WIDEST}")
        check_features(self.backbone, self.feature_strides)
        check_input(self.input_hw, self._coarsest)
        check_vectors(self.vector_dim, self.activation)

    @staticmethod
    def published(
        head: str,
        skeleton: Skeleton,
        backbone: Backbone,
        input_hw: tuple[int, int],
        *,
        parts: str = "1",
        vector_dim: int = 8,
        activation: Activation = "squash",
        fusion: Literal["sum", "mean"] = "sum",
    ) -> HandMade:
        """A kind at its published widths; `parts` names the partition of one that every part has for itself."""
        kind = known_head(head)
        partition = skeleton.partition(parts if kind.per_part else "1")
        return HandMade(
            skeleton=skeleton,
            partition=partition,
            backbone=backbone.pruned(kind.reads),
            head=head,
            widths=dict.fromkeys(partition, kind.widths),
            input_hw=input_hw,
            vector_dim=vector_dim,
            activation=activation,
            fusion=fusion,
        )

    @property
    def output_stride(self) -> int:
        return STEM_STRIDE

    @property
    def feature_strides(self) -> tuple[int, ...]:
        """Strides of the backbone's maps that the heads read."""
        return HEADS[self.head].reads

    @property
    def heatmap_hw(self) -> tuple[int, int]:
        return self.input_hw[0] // self.output_stride, self.input_hw[1] // self.output_stride

    def fabrics(self) -> dict[str, tuple[SearchSpace, Genotype]]:
        """The backbone's fabric as `"backbone"` where it is one."""
        return self.backbone.fabrics()

    @property
    def _coarsest(self) -> int:
        """The largest stride of any map: of the backbone, or of the bottom of an hourglass."""
        reached = [*SCALES, *(space.strides[-1] for space, _ in self.fabrics().values())]
        if self.head == "hourglass":
            reached += [2 << index for widths in self.widths.values() for index in range(1, len(widths))]
        return max(reached)


Description = Architecture | HandMade
"""What `models.build` makes a net from, what a run folder holds, what is counted, drawn and reported."""


def known_head(name: str) -> Head:
    """A kind of `HEADS` by name."""
    if name not in HEADS:
        raise unknown_name("head", name, tuple(HEADS))
    return HEADS[name]


def read_description(path: str | Path) -> Description:
    """Read an architecture file, or that of a run folder: of fabrics, or with a `head` in place of a `space`."""
    path = Path(path)
    file = path / "architecture.json" if path.is_dir() else path
    data = parse_json(read_text(file, code="bad-architecture"), code="bad-architecture", where=str(file))
    if isinstance(data, dict) and "head" in data and "space" not in data:
        return documents.from_data(HandMade, data, code="bad-architecture", where=str(file))
    return documents.from_data(Architecture, data, code="bad-architecture", where=str(file))
