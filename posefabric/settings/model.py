"""The net: its fabrics, its backbone, its heads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from posefabric.architecture import Activation, Architecture, supernet
from posefabric.backbone import FABRIC, FABRIC_SPACES, Backbone, fabric_backbone
from posefabric.errors import UserError
from posefabric.handmade import HandMade
from posefabric.settings.fields import Count, Positive, Settings, Text
from posefabric.skeletons import Skeleton
from posefabric.space import BACKBONE_OPERATIONS, HEAD_OPERATIONS, SearchSpace


class FabricSettings(Settings):
    """A fabric: the whole lens has `num_layers`; a head keeps the last `keep` of them, a backbone the first.

    `auxiliary_skip`: while a search learns, every edge also passes on its input, with a weight that falls from 1 in the
    first step to 0 in the last, linearly or as a cosine (DARTS-); nothing of it is left then. `partial_channels` K: in
    the supernet operations see one of K channels, the others pass by (PC-DARTS). A net derived from such a search has
    K = 1, inherits no weights, and is trained from scratch. `share_parts`: all parts of the body have one alpha and one
    beta between them.

    With several `width_multipliers` a search chooses the width of every scale, too; see `SearchSpace` for all others.
    """

    num_layers: Count = 6
    keep: Count = 3
    base_channels: Count = 10
    num_nodes: Count = 1
    operations: tuple[str, ...] = HEAD_OPERATIONS
    share_operations: bool = True
    boundary: Literal["repeat", "omit"] = "repeat"
    entries: Literal["first", "every"] = "first"
    auxiliary_skip: Literal["none", "linear", "cosine"] = "none"
    partial_channels: Count = 1
    width_multipliers: tuple[Positive, ...] = (1.0,)
    share_parts: bool = False

    def head(self) -> SearchSpace:
        return self._space(self.num_layers - self.keep, self.num_layers)

    def backbone(self) -> SearchSpace:
        return self._space(0, self.keep)

    def _space(self, first: int, last: int) -> SearchSpace:
        return SearchSpace(
            num_layers=self.num_layers,
            first_layer=first,
            last_layer=last,
            base_channels=self.base_channels,
            num_nodes=self.num_nodes,
            operations=self.operations,
            share_operations=self.share_operations,
            boundary=self.boundary,
            entries=self.entries,
            auxiliary_skip=self.auxiliary_skip,
            partial_channels=self.partial_channels,
            width_multipliers=self.width_multipliers,
            share_parts=self.share_parts,
        )


class BackboneSettings(Settings):
    """`name`: a network of `models.backbones`, `fabric1` to `fabric3`, or `fabric` as described by `fabric`.

    `pretrained`: start from ImageNet weights, timm's or those of the local file `weights` (timm's names).
    """

    name: str = "mobilenetv2_100"
    pretrained: bool = True
    weights: Path | None = None
    fabric: FabricSettings = FabricSettings(num_layers=8, keep=5, operations=BACKBONE_OPERATIONS)

    def describe(self) -> Backbone:
        if self.name in FABRIC_SPACES:
            return fabric_backbone(FABRIC_SPACES[self.name])
        if self.name == FABRIC:
            return fabric_backbone(self.fabric.backbone())
        return Backbone(self.name)


class ModelSettings(Settings):
    """The net. `parts` names a partition of the data's skeleton; `input_hw` is the crop in pixels."""

    parts: Text = "3"
    input_hw: tuple[Count, Count] = (256, 256)
    fabric: FabricSettings = FabricSettings()
    vector_dim: Count = 8
    activation: Activation = "squash"
    fusion: Literal["sum", "mean"] = "sum"

    def supernet(self, skeleton: Skeleton, backbone: Backbone) -> Architecture:
        """The architecture that keeps everything, for a skeleton."""
        with _as_settings():
            return supernet(
                skeleton,
                skeleton.partition(self.parts),
                backbone,
                self.fabric.head(),
                self.input_hw,
                vector_dim=self.vector_dim,
                activation=self.activation,
                fusion=self.fusion,
            )

    def handmade(self, head: str, skeleton: Skeleton, backbone: Backbone) -> HandMade:
        """The control with a hand-made head in the place of the fabrics."""
        with _as_settings():
            return HandMade.published(
                head,
                skeleton,
                backbone,
                self.input_hw,
                parts=self.parts,
                vector_dim=self.vector_dim,
                activation=self.activation,
                fusion=self.fusion,
            )


@contextmanager
def _as_settings() -> Iterator[None]:
    """What is wrong with a net that settings describe is wrong with the settings: there is no architecture file yet."""
    try:
        yield
    except UserError as error:
        if error.code != "bad-architecture":
            raise
        todo = "Correct these keys below model or backbone."
        raise UserError("bad-config", error.given, error.allowed, todo) from error
