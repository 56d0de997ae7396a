"""The one builder: any architecture, whole or derived, becomes a net here and nowhere else (stages 4 to 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from posefabric.errors import UserError
from posefabric.architecture import Architecture, BACKBONE
from posefabric.genotype import used_features, used_strides
from posefabric.models.backbones import build_backbone
from posefabric.models.fabric import Fabric
from posefabric.models.head import Fusion, VectorHead
from posefabric.models.mixing import FixedMixing, Mixing, SoftmaxMixing, as_genotype


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
        self.backbone = build_backbone(architecture.backbone, used_strides(space, genotypes)[-1])
        self.laterals, self.fabrics, self.heads = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for part, keypoints in architecture.partition.items():
            channels = architecture.channels(part)
            self.laterals[part] = nn.ModuleDict(
                {
                    str(stride): _lateral(self.backbone.channels[stride], channels[stride])
                    for stride in used_features(space, genotypes[part])
                }
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
        inputs = {
            int(stride): lateral(features[int(stride)]) for stride, lateral in self.laterals[part].items()
        }
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


def fixed_mixings(architecture: Architecture) -> dict[str, Mixing]:
    """The multipliers stored in the architecture, one mixing per fabric."""
    return {name: FixedMixing(genotype) for name, (_, genotype) in architecture.fabrics().items()}


def softmax_mixings(architecture: Architecture) -> dict[str, Mixing]:
    """Trainable logits over a supernet's choices, one mixing per fabric."""
    return {
        name: SoftmaxMixing(space, genotype) for name, (space, genotype) in architecture.fabrics().items()
    }


def mixture(net: PoseNet) -> Architecture:
    """The architecture with the multipliers that the net's mixings give now: the paper's final, dense network."""
    return net.architecture.with_genotypes({name: as_genotype(m) for name, m in net.mixing.items()})


def _lateral(source_channels: int, channels: int) -> nn.Module:
    """A part's own 1x1 convolution from a feature map; nothing where the channels already agree (released code)."""
    return nn.Identity() if source_channels == channels else nn.Conv2d(source_channels, channels, 1)


def _check_part_names(architecture: Architecture) -> None:
    for part in architecture.partition:
        if not part.isidentifier() or part == BACKBONE or hasattr(nn.ModuleDict, part):
            raise UserError("bad-architecture", f"the part name '{part}' cannot be used", "a plain word")
