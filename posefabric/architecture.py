"""Architectures: a whole pose network as data. `PoseNet` builds any of them; the supernet is the one that keeps all.

Where it stands in the walk: what a search finds, what training takes, what a run folder holds. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from posefabric import documents
from posefabric.backbone import BACKBONE, STEM_STRIDE, Backbone, by_stride, widest
from posefabric.documents import STRICT
from posefabric.genotype import Genotype, bad_field, check_genotype, everything, prune, used_scales, used_strides
from posefabric.skeletons import Partition, Skeleton, check_partition
from posefabric.space import SearchSpace

Activation = Literal["squash", "sigmoid", "linear"]
"""How a vector becomes a score."""


WIDEST, LARGEST_CROP = 65536, 16384
"""Channels of a map, and pixels of a side, beyond which an architecture is a mistake or wants to fill the memory."""


@dataclass(frozen=True)
class Architecture:
    """A whole pose network as data.

    `input_hw` is the crop it is meant for, in pixels. `partition` and `genotypes` have the same part names; `widths`
    gives each part's channels at every stride of `space`. `activation`: `"squash"` turns the length of a
    `vector_dim`-vector into a score in [0, 1) (PNFS section III-D); two controls take a one-dimensional vector,
    `"linear"` as the heatmap itself, `"sigmoid"` as its logit. `fusion` joins keypoints that several parts share:
    `"sum"` (the paper's code) or `"mean"`.
    `width_shares`, while widths are being chosen: fabric (a part, or `"backbone"`) -> stride -> share of each width of
    its space, narrowest first; `widths` are the widest then.
    Genotypes must be pruned. Contradictions raise `UserError("bad-architecture")` naming the field.
    """

    skeleton: Skeleton
    partition: Partition
    backbone: Backbone
    space: SearchSpace
    genotypes: Mapping[str, Genotype]
    widths: Mapping[str, tuple[int, ...]]
    input_hw: tuple[int, int]
    vector_dim: int = 8
    activation: Activation = "squash"
    fusion: Literal["sum", "mean"] = "sum"
    width_shares: Mapping[str, Mapping[int, tuple[float, ...]]] = field(default_factory=dict)
    format: Literal[1] = 1

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        check_parts(self.skeleton, self.partition)
        _check_head(self)
        for label, table in (("genotypes", self.genotypes), ("widths", self.widths)):
            if set(table) != set(self.partition):
                raise bad_field(label, f"has the parts {sorted(table)}", f"{sorted(self.partition)}")
        for part, genotype in self.genotypes.items():
            check_genotype(self.space, genotype, f"genotypes.{part}")
        check_features(self.backbone, self.feature_strides)
        for part, channels in self.widths.items():
            _check_widths(self.space, channels, f"widths.{part}")
        _check_partial(self)
        _check_shares(self)

    def channels(self, fabric: str) -> dict[int, int]:
        """Stride -> channels of a fabric: a part's, or the backbone's."""
        return self.backbone.channels() if fabric == BACKBONE else by_stride(self.space, self.widths[fabric])

    def width_choices(self, fabric: str) -> dict[int, tuple[int, ...]]:
        """Stride -> the channels that a fabric may have there, ascending, of which it has the last."""
        space, _ = self.fabrics()[fabric]
        return {stride: space.widths(widest) for stride, widest in self.channels(fabric).items()}

    @property
    def several_widths(self) -> bool:
        """Whether the widths of some fabric are chosen."""
        return any(space.several_widths for space, _ in self.fabrics().values())

    @property
    def output_stride(self) -> int:
        return self.space.strides[0]

    @property
    def feature_strides(self) -> tuple[int, ...]:
        """Strides of the backbone's maps that some part reads."""
        return used_strides(self.space, self.genotypes)

    @property
    def heatmap_hw(self) -> tuple[int, int]:
        return self.input_hw[0] // self.output_stride, self.input_hw[1] // self.output_stride

    def fabrics(self) -> dict[str, tuple[SearchSpace, Genotype]]:
        """Every fabric: the parts' under their names, and the backbone's as `"backbone"` where it is one."""
        return {part: (self.space, genotype) for part, genotype in self.genotypes.items()} | self.backbone.fabrics()

    def all_genotypes(self) -> dict[str, Genotype]:
        """Those of `fabrics`, under the same names."""
        return {name: genotype for name, (_, genotype) in self.fabrics().items()}

    def tied(self) -> list[tuple[str, ...]]:
        """The fabrics in groups of one mixture: each by itself, or where the space says so all parts together."""
        fabrics = self.fabrics()
        if not self.space.share_parts:
            return [(name,) for name in fabrics]
        return [tuple(self.genotypes), *((name,) for name in fabrics if name not in self.genotypes)]

    def with_genotypes(self, genotypes: Mapping[str, Genotype]) -> Architecture:
        """The same network with other, not yet pruned genotypes, named as in `fabrics`."""
        kept = self.pruned(genotypes)
        backbone = replace(self.backbone, genotype=kept.pop(BACKBONE, None))
        return replace(self, genotypes=kept, backbone=backbone)

    def deployed(self) -> Architecture:
        """The same network in spaces without what is lent to a search alone: as derived nets are trained and used."""
        space = self.backbone.space and self.backbone.space.deployed()
        return replace(self, space=self.space.deployed(), backbone=replace(self.backbone, space=space))

    @property
    def partial(self) -> bool:
        """Whether operations see a part of the channels alone: then no derived net can inherit its weights."""
        return any(space.partial_channels > 1 for space, _ in self.fabrics().values())

    def with_widths(self, chosen: Mapping[str, Mapping[int, int]]) -> Architecture:
        """The same network with all widths decided; `chosen`: fabric -> stride -> channels, where they change."""
        found = {fabric: self.channels(fabric) | dict(widths) for fabric, widths in chosen.items()}
        decided = {fabric: tuple(channels.values()) for fabric, channels in found.items()}
        backbone = replace(self.backbone, widths=decided.pop(BACKBONE, self.backbone.widths))
        return replace(self, widths={**self.widths, **decided}, backbone=backbone, width_shares={})

    def pruned(self, genotypes: Mapping[str, Genotype]) -> dict[str, Genotype]:
        """Other genotypes of the same fabrics without what leads nowhere; the backbone's end where the parts read."""
        kept = {part: prune(self.space, genotypes[part]) for part in self.partition}
        if self.backbone.space is not None:
            wanted = used_strides(self.space, kept)
            kept[BACKBONE] = prune(self.backbone.space, genotypes[BACKBONE], wanted)
        return kept


def supernet(
    skeleton: Skeleton,
    partition: Partition,
    backbone: Backbone,
    space: SearchSpace,
    input_hw: tuple[int, int],
    *,
    vector_dim: int = 8,
    activation: Activation = "squash",
    fusion: Literal["sum", "mean"] = "sum",
) -> Architecture:
    """The architecture that keeps everything, at the paper's widths; of several widths every one has the same share."""
    genotypes = {part: everything(space) for part in partition}
    backbone = backbone.pruned(used_strides(space, genotypes))
    fabrics = {part: (space, genotype) for part, genotype in genotypes.items()} | backbone.fabrics()
    return Architecture(
        skeleton=skeleton,
        partition=partition,
        backbone=backbone,
        space=space,
        genotypes=genotypes,
        widths=dict.fromkeys(partition, widest(space)),
        input_hw=input_hw,
        vector_dim=vector_dim,
        activation=activation,
        fusion=fusion,
        width_shares={name: _equal_shares(*fabric) for name, fabric in fabrics.items() if fabric[0].several_widths},
    )


def read_architecture(path: str | Path) -> Architecture:
    """Read an architecture file, or that of a run folder."""
    path = Path(path)
    file = path / "architecture.json" if path.is_dir() else path
    return documents.read_json(Architecture, file, code="bad-architecture")


def _check_partial(architecture: Architecture) -> None:
    for fabric, (space, _) in architecture.fabrics().items():
        widths = tuple(architecture.channels(fabric).values())
        if any(width % space.partial_channels for width in widths):
            found = f"is {space.partial_channels}, and the fabric of '{fabric}' has {widths} channels"
            raise bad_field("partial_channels", found, "a divisor of all numbers of channels")


def _equal_shares(space: SearchSpace, genotype: Genotype) -> dict[int, tuple[float, ...]]:
    count = len(space.width_multipliers)
    return dict.fromkeys(used_scales(space, genotype), (1 / count,) * count)


def _check_widths(space: SearchSpace, widths: tuple[int, ...], where: str) -> None:
    if len(widths) != len(space.strides) or min(widths) < 1 or max(widths) > WIDEST:
        raise bad_field(where, f"is {widths}", f"{len(space.strides)} numbers from 1 to {WIDEST}")


def _check_shares(architecture: Architecture) -> None:
    fabrics = architecture.fabrics()
    for fabric, found in architecture.width_shares.items():
        if fabric not in fabrics:
            raise bad_field(f"width_shares.{fabric}", "is no fabric", f"{sorted(fabrics)}")
        space, _ = fabrics[fabric]
        count = len(space.width_multipliers)
        for stride, shares in found.items():
            where = f"width_shares.{fabric}.{stride}"
            if stride not in space.strides:
                raise bad_field(where, "is no stride of its space", f"{space.strides}")
            if len(shares) != count or not all(0 <= share <= 1 for share in shares):
                raise bad_field(where, f"is {shares}", f"{count} numbers from 0 to 1")


def _check_head(architecture: Architecture) -> None:
    outputs = architecture.space.outputs()
    if [site.stride for site in outputs] != [architecture.output_stride]:
        raise bad_field(
            "space",
            f"ends in {len(outputs)} cells",
            "a head, whose last layer is one cell at the finest scale",
        )
    check_input(architecture.input_hw, max(space.strides[-1] for space, _ in architecture.fabrics().values()))
    check_vectors(architecture.vector_dim, architecture.activation)


def check_parts(skeleton: Skeleton, partition: Partition) -> None:
    """A partition of the skeleton whose parts can be told from a backbone."""
    check_partition(skeleton, partition, "partition")
    for part in partition:
        if not part.isidentifier() or part == BACKBONE:
            raise bad_field(f"partition.{part}", "is no name for a part", "a plain word other than 'backbone'")


def check_features(backbone: Backbone, wanted: tuple[int, ...]) -> None:
    """A CNF backbone begins at the stem, ends in maps of the strides `wanted`, and holds nothing else."""
    space, genotype = backbone.space, backbone.genotype
    if space is None or genotype is None:
        return
    if backbone.widths is not None:
        _check_widths(space, backbone.widths, "backbone.widths")
    if space.input_strides != (STEM_STRIDE,):
        found = f"reads maps of the strides {space.input_strides}"
        raise bad_field("backbone.space", found, f"the stem's, {STEM_STRIDE}")
    offered = [site.stride for site in space.outputs() if site.name in genotype.cells]
    if not set(wanted) <= set(offered):
        raise bad_field("backbone", f"ends in the strides {offered}", f"those the parts read: {wanted}")
    check_genotype(space, genotype, "backbone.genotype", wanted)


def check_input(input_hw: tuple[int, int], coarsest: int) -> None:
    """A crop's sides are multiples of the coarsest stride."""
    if any(not coarsest <= size <= LARGEST_CROP or size % coarsest for size in input_hw):
        raise bad_field("input_hw", f"is {input_hw}", f"multiples of {coarsest} up to {LARGEST_CROP}")


def check_vectors(vector_dim: int, activation: str) -> None:
    """Vectors have a dimension, and exactly one where they are the heatmap itself."""
    if not 1 <= vector_dim <= WIDEST:
        raise bad_field("vector_dim", f"is {vector_dim}", f"1 to {WIDEST}")
    if activation != "squash" and vector_dim != 1:
        raise bad_field("vector_dim", f"is {vector_dim} with activation '{activation}'", "1")
