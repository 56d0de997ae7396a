"""Where the features come from, as data: a named network, or a fabric with a genotype of its own. No torch here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from posefabric.documents import STRICT
from posefabric.errors import UserError
from posefabric.genotype import Genotype, everything, prune
from posefabric.space import SearchSpace

FABRIC = "fabric"
"""The backbone that is itself a fabric."""

BACKBONE = "backbone"
"""The key of such a backbone's genotype and mixing, beside the parts'."""

STEM_STRIDE = 4
"""Where its stem ends and its lattice begins."""


@dataclass(frozen=True)
class Backbone:
    """Where the features come from: a named network of `models.backbones`, or `"fabric"` with its own genotype.

    `widths`: its channels at every stride of its space, where they are not the space's.
    """

    name: str
    space: SearchSpace | None = None
    genotype: Genotype | None = None
    widths: tuple[int, ...] | None = None

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        described = [self.space is not None, self.genotype is not None]
        if described != [self.name == FABRIC] * 2:
            raise UserError(
                "bad-architecture",
                f"backbone '{self.name}' {'has' if any(described) else 'lacks'} a space or a genotype",
                "space and genotype exactly where the name is 'fabric'",
            )

    def channels(self) -> dict[int, int]:
        """Stride -> channels of a fabric."""
        assert self.space is not None
        return by_stride(self.space, self.widths or widest(self.space))

    def pruned(self, wanted: Collection[int]) -> Backbone:
        """The same with only what the strides `wanted` need; a named network is cut when it is built."""
        if self.space is None or self.genotype is None:
            return self
        return replace(self, genotype=prune(self.space, self.genotype, wanted))

    def fabrics(self) -> dict[str, tuple[SearchSpace, Genotype]]:
        """Its fabric as `"backbone"`, if it is one."""
        if self.space is None or self.genotype is None:
            return {}
        return {BACKBONE: (self.space, self.genotype)}


FABRIC_SPACES: dict[str, SearchSpace] = {
    "fabric1": SearchSpace.backbone(10, num_layers=7, keep=3, num_nodes=2),
    "fabric2": SearchSpace.backbone(10, num_layers=8, keep=5),
    "fabric3": SearchSpace.backbone(12, num_layers=8, keep=5),
}
"""The paper's CNF backbones (section IV; layer counts of the released configurations)."""


def fabric_backbone(space: SearchSpace) -> Backbone:
    """A CNF backbone that keeps everything of its space."""
    return Backbone(FABRIC, space, everything(space))


def by_stride(space: SearchSpace, widths: tuple[int, ...]) -> dict[int, int]:
    return dict(zip(space.strides, widths, strict=True))


def widest(space: SearchSpace) -> tuple[int, ...]:
    return tuple(space.channels(stride) for stride in space.strides)
