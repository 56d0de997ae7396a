"""The one builder: any architecture, whole or derived, becomes a net here and nowhere else (stages 4 to 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posefabric.architecture import BACKBONE, Architecture
from posefabric.errors import UserError
from posefabric.genotype import used_features, used_strides
from posefabric.models.backbones import build_backbone
from posefabric.models.fabric import Fabric
from posefabric.models.head import Fusion, VectorHead
from posefabric.models.mixing import CellWeights, FixedMixing, GumbelMixing, Mixing, SoftmaxMixing, as_genotype
from posefabric.space import feature_name


class PartNet(nn.Module):
    """One part of the body: lateral 1x1 convolutions of its own, its fabric, its head."""

    def __init__(self, architecture: Architecture, part: str, feature_channels: Mapping[int, int]) -> None:
        super().__init__()
        space, genotype = architecture.space, architecture.genotypes[part]
        channels = architecture.channels(part)
        self.strides = used_features(space, genotype)
        self.laterals = nn.ModuleDict({str(s): _lateral(feature_channels[s], channels[s]) for s in self.strides})
        self.fabric = Fabric(space, genotype, channels)
        self.head = VectorHead(
            channels[architecture.output_stride],
            len(architecture.partition[part]),
            architecture.vector_dim,
            architecture.activation,
        )

    def part_map(self, features: Mapping[int, Tensor], weights: Mapping[str, CellWeights]) -> Float[Tensor, "B C h w"]:
        """The output of the fabric."""
        read = self.fabric.read(weights)
        inputs = {s: self.laterals[str(s)](features[s]) for s in self.strides if feature_name(s) in read}
        (output,) = self.fabric(inputs, weights).values()
        part_map: Tensor = output
        return part_map

    def forward(self, features: Mapping[int, Tensor], weights: Mapping[str, CellWeights]) -> Float[Tensor, "B J h w"]:
        scores: Tensor = self.head(self.part_map(features, weights))
        return scores


class PoseNet(nn.Module):
    """Crops in, one heatmap per keypoint out.

    `mixings` maps each part (and `"backbone"` where that is a fabric) to where its mixing weights come from; without
    it the multipliers stored in the architecture apply. A supernet is `everything` with `SoftmaxMixing`, a derived net
    what was found with `FixedMixing`: its state is a subset of the supernet's, whose logits live under `mixing.`.
    """

    def __init__(self, architecture: Architecture, mixings: Mapping[str, Mixing] | None = None) -> None:
        super().__init__()
        _check_buildable(architecture)
        self.architecture = architecture
        self.mixing = nn.ModuleDict(mixings if mixings is not None else fixed_mixings(architecture))
        coarsest = used_strides(architecture.space, architecture.genotypes)[-1]
        self.backbone = build_backbone(architecture.backbone, coarsest)
        channels = self.backbone.channels
        self.parts = nn.ModuleDict({part: PartNet(architecture, part, channels) for part in architecture.partition})
        self.fusion = Fusion(architecture.skeleton, architecture.partition, architecture.fusion)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> dict[int, Tensor]:
        """Stride -> backbone map B C_s H/s W/s."""
        weights = [self.mixing[BACKBONE]()] if BACKBONE in self.mixing else []
        features: dict[int, Tensor] = self.backbone(images, *weights)
        return features

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        features = self.features(images)
        scores = {name: part(features, self.mixing[name]()) for name, part in self.parts.items()}
        heatmaps: Tensor = self.fusion(scores)
        return heatmaps

    def weights(self) -> Iterator[nn.Parameter]:
        """The trained weights, without architecture parameters."""
        return (p for name, p in self.named_parameters() if not name.startswith("mixing."))

    def architecture_parameters(self) -> Iterator[nn.Parameter]:
        """The logits of the mixings; none in a derived net."""
        return self.mixing.parameters()


def fixed_mixings(architecture: Architecture) -> dict[str, Mixing]:
    """The multipliers stored in the architecture, one mixing per fabric."""
    return {name: FixedMixing(genotype) for name, (_, genotype) in architecture.fabrics().items()}


def softmax_mixings(architecture: Architecture) -> dict[str, Mixing]:
    """Trainable logits over a supernet's choices, one mixing per fabric."""
    return {name: SoftmaxMixing(space, genotype) for name, (space, genotype) in architecture.fabrics().items()}


def gumbel_mixings(architecture: Architecture, *, hard: bool) -> dict[str, Mixing]:
    """Trainable logits over a supernet's choices that are drawn, one mixing per fabric."""
    return {
        name: GumbelMixing(space, genotype, hard=hard) for name, (space, genotype) in architecture.fabrics().items()
    }


@torch.no_grad()
def mixture(net: PoseNet) -> Architecture:
    """The architecture with the multipliers that the net's mixings give now: the paper's final, dense network."""
    return net.architecture.with_genotypes({name: as_genotype(mixing()) for name, mixing in net.mixing.items()})


def _lateral(source_channels: int, channels: int) -> nn.Module:
    """A part's own 1x1 convolution from a feature map; nothing where the channels already agree (released code)."""
    return nn.Identity() if source_channels == channels else nn.Conv2d(source_channels, channels, 1)


def _check_buildable(architecture: Architecture) -> None:
    """What only the builder can know: names that `nn.ModuleDict` keeps for itself."""
    for part in architecture.partition:
        if hasattr(nn.ModuleDict(), part):
            raise UserError("bad-architecture", f"the part name '{part}' cannot be used", "another word")
