"""The one builder: any architecture, whole or derived, becomes a net here and nowhere else (stages 4 to 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from posefabric.errors import UserError
from posefabric.genotype import FABRIC, Architecture, Genotype, used_features
from posefabric.models.backbones import build_backbone
from posefabric.models.fabric import Fabric
from posefabric.models.head import Fusion, VectorHead
from posefabric.models.mixing import FixedMixing, Mixing, SoftmaxMixing
from posefabric.space import SearchSpace

BACKBONE = "backbone"
"""The key of a CNF backbone's mixing, beside the parts'."""


class PoseNet(nn.Module):
    """Crops in, one heatmap per keypoint out.

    `mixings` maps each part (and `"backbone"` where that is a fabric) to where its mixing weights come from; without
    it the multipliers stored in the architecture apply. A supernet is `everything` with `SoftmaxMixing`, a derived net
    what was found with `FixedMixing`: its state is a subset of the supernet's, whose logits live under `mixing.`.
    """

    def __init__(self, architecture: Architecture, mixings: Mapping[str, Mixing] | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        _check_part_names(architecture)
        self.mixing = nn.ModuleDict(mixings if mixings is not None else fixed_mixings(architecture))
        space, genotypes = architecture.space, architecture.genotypes
        used = {part: used_features(space, genotypes[part]) for part in architecture.partition}
        self.backbone = build_backbone(architecture.backbone, max(max(strides) for strides in used.values()))
        self.laterals, self.fabrics, self.heads = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for part, keypoints in architecture.partition.items():
            channels = architecture.channels(part)
            self.laterals[part] = nn.ModuleDict(
                {str(stride): _lateral(self.backbone.channels[stride], channels[stride]) for stride in used[part]}
            )
            self.fabrics[part] = Fabric(space, genotypes[part], channels)
            self.heads[part] = VectorHead(
                channels[architecture.output_stride],
                len(keypoints),
                architecture.vector_dim,
                architecture.activation,
            )
        self.fusion = Fusion(architecture.skeleton, architecture.partition, architecture.fusion)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> dict[int, Tensor]:
        """Stride -> backbone map B C_s H/s W/s."""
        if BACKBONE in self.mixing:
            features: dict[int, Tensor] = self.backbone(images, self.mixing[BACKBONE]())
            return features
        features = self.backbone(images)
        return features

    def part_map(self, part: str, features: Mapping[int, Tensor]) -> Float[Tensor, "B C h w"]:
        """The output of one part's fabric."""
        inputs = {int(stride): lateral(features[int(stride)]) for stride, lateral in self.laterals[part].items()}
        (output,) = self.fabrics[part](inputs, self.mixing[part]()).values()
        return output

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        features = self.features(images)
        scores = {part: head(self.part_map(part, features)) for part, head in self.heads.items()}
        heatmaps: Tensor = self.fusion(scores)
        return heatmaps

    def weights(self) -> Iterator[nn.Parameter]:
        """The trained weights, without architecture parameters."""
        return (p for name, p in self.named_parameters() if not name.startswith("mixing."))

    def architecture_parameters(self) -> Iterator[nn.Parameter]:
        """The logits of the mixings; none in a derived net."""
        return self.mixing.parameters()


def fabrics_of(architecture: Architecture) -> dict[str, tuple[SearchSpace, Genotype]]:
    """Every fabric of an architecture under its mixing's key: the parts', and the backbone's where it is one."""
    parts = {part: (architecture.space, genotype) for part, genotype in architecture.genotypes.items()}
    backbone = architecture.backbone
    if backbone.name != FABRIC:
        return parts
    assert backbone.space is not None
    assert backbone.genotype is not None
    return {**parts, BACKBONE: (backbone.space, backbone.genotype)}


def fixed_mixings(architecture: Architecture) -> dict[str, Mixing]:
    """The multipliers stored in the architecture, one mixing per fabric."""
    return {name: FixedMixing(genotype) for name, (_, genotype) in fabrics_of(architecture).items()}


def softmax_mixings(architecture: Architecture) -> dict[str, Mixing]:
    """Trainable logits over the whole space, one mixing per fabric."""
    return {name: SoftmaxMixing(space) for name, (space, _) in fabrics_of(architecture).items()}


def _lateral(source_channels: int, channels: int) -> nn.Module:
    """A part's own 1x1 convolution from a feature map; nothing where the channels already agree (released code)."""
    return nn.Identity() if source_channels == channels else nn.Conv2d(source_channels, channels, 1)


def _check_part_names(architecture: Architecture) -> None:
    for part in architecture.partition:
        if not part.isidentifier() or part == BACKBONE or hasattr(nn.ModuleDict, part):
            raise UserError("bad-architecture", f"the part name '{part}' cannot be used", "a plain word")
