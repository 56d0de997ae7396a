"""The one builder: any architecture, searched or hand-made, becomes a net here and nowhere else (stages 4 to 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from posefabric.architecture import Architecture
from posefabric.backbone import BACKBONE
from posefabric.errors import UserError
from posefabric.genotype import Genotype, used_features
from posefabric.handmade import Description, HandMade
from posefabric.models.backbones import FabricBackbone, build_backbone
from posefabric.models.fabric import Fabric, lateral
from posefabric.models.handmade import HandMadePart
from posefabric.models.head import Fusion, VectorHead
from posefabric.models.mixing import (
    CellWeights,
    FixedMixing,
    GumbelMixing,
    Mixing,
    SampledMixing,
    SoftmaxMixing,
    as_genotype,
)
from posefabric.models.slimming import Shares, WidthMasks, slim
from posefabric.space import SearchSpace, feature_name

MOST_PARAMETERS = 10**9
"""The largest nets of the field have a tenth of it."""


class PartNet(nn.Module):
    """One part of the body: lateral 1x1 convolutions of its own, its fabric, its head."""

    def __init__(self, architecture: Architecture, part: str, feature_channels: Mapping[int, int]) -> None:
        super().__init__()
        space, genotype = architecture.space, architecture.genotypes[part]
        channels = architecture.channels(part)
        self.strides = used_features(space, genotype)
        always = architecture.several_widths
        self.laterals = nn.ModuleDict(
            {str(s): lateral(feature_channels[s], channels[s], always=always) for s in self.strides}
        )
        self.masks = WidthMasks(space, channels)
        self.fabric = Fabric(space, genotype, channels)
        self.head = VectorHead(
            channels[architecture.output_stride],
            len(architecture.partition[part]),
            architecture.vector_dim,
            architecture.activation,
        )

    def part_map(
        self, features: Mapping[int, Tensor], weights: Mapping[str, CellWeights], shares: Shares | None = None
    ) -> Float[Tensor, "B C h w"]:
        """The output of the fabric."""
        read, masks = self.fabric.read(weights), self.masks(shares or {})
        inputs = {
            s: slim(self.laterals[str(s)](features[s]), masks.get(s)) for s in self.strides if feature_name(s) in read
        }
        (output,) = self.fabric(inputs, weights, masks).values()
        part_map: Tensor = output
        return part_map

    def forward(
        self, features: Mapping[int, Tensor], weights: Mapping[str, CellWeights], shares: Shares | None = None
    ) -> Float[Tensor, "B J h w"]:
        scores: Tensor = self.head(self.part_map(features, weights, shares))
        return scores


class Net(nn.Module):
    """Crops in, one heatmap per keypoint out: a backbone, a module per part, their fusion.

    `mixings` maps each fabric of the description to where its mixing weights come from.
    """

    architecture: Description
    parts: nn.ModuleDict

    def __init__(self, described: Description, mixings: Mapping[str, Mixing]) -> None:
        super().__init__()
        _check_buildable(described)
        self.architecture = described
        self.mixing = nn.ModuleDict(mixings)
        self.backbone = build_backbone(described.backbone, described.feature_strides[-1])
        self.fusion = Fusion(described.skeleton, described.partition, described.fusion)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> dict[int, Tensor]:
        """Stride -> backbone map B C_s H/s W/s."""
        features: dict[int, Tensor] = self.backbone(images, *self._mixed(BACKBONE) if BACKBONE in self.mixing else ())
        return features

    def _mixed(self, fabric: str) -> tuple[Mapping[str, CellWeights], Shares]:
        """What the mixing of a fabric says of its cells and of its widths."""
        mixing = self.mixing[fabric]
        assert isinstance(mixing, Mixing)
        return mixing(), mixing.width_shares()

    def width_axes(self, name: str) -> tuple[int, ...]:
        """The axes of a tensor of the state that are channels of a fabric: in a net of other widths these differ."""
        if ".fabric." in name or ".laterals." in name:
            return (0, 1)
        if name.endswith(".head.to_vectors.weight"):
            return (1,)
        stem = (
            isinstance(self.backbone, FabricBackbone) and name == f"backbone.stem.{len(self.backbone.stem) - 1}.weight"
        )
        return (0,) if stem else ()

    def weights(self) -> Iterator[nn.Parameter]:
        """The trained weights, without architecture parameters."""
        return (p for name, p in self.named_parameters() if not name.startswith("mixing."))


class PoseNet(Net):
    """The net of fabrics.

    Without `mixings` the multipliers stored in the architecture apply. A supernet is `everything` with `SoftmaxMixing`,
    a derived net what was found with `FixedMixing`: its state is a subset of the supernet's, whose logits live under
    `mixing.`.
    """

    architecture: Architecture

    def __init__(self, architecture: Architecture, mixings: Mapping[str, Mixing] | None = None) -> None:
        super().__init__(architecture, mixings if mixings is not None else fixed_mixings(architecture))
        channels = self.backbone.channels
        self.parts = nn.ModuleDict({part: PartNet(architecture, part, channels) for part in architecture.partition})

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        features = self.features(images)
        scores = {name: part(features, *self._mixed(name)) for name, part in self.parts.items()}
        heatmaps: Tensor = self.fusion(scores)
        return heatmaps

    def architecture_parameters(self) -> Iterator[nn.Parameter]:
        """The logits of the mixings; none in a derived net."""
        return self.mixing.parameters()


class HandMadeNet(Net):
    """The net of hand-made heads."""

    architecture: HandMade

    def __init__(self, described: HandMade) -> None:
        super().__init__(described, fixed_mixings(described))
        channels = self.backbone.channels
        self.parts = nn.ModuleDict({part: HandMadePart(described, part, channels) for part in described.partition})

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        features = self.features(images)
        heatmaps: Tensor = self.fusion({name: part(features) for name, part in self.parts.items()})
        return heatmaps


def build_part(described: Description, part: str, feature_channels: Mapping[int, int]) -> PartNet | HandMadePart:
    """The module of one part; it depends on its own widths alone."""
    if isinstance(described, HandMade):
        return HandMadePart(described, part, feature_channels)
    return PartNet(described, part, feature_channels)


def build(described: Description) -> Net:
    """The net that a description is of, with random weights and fixed multipliers.

    One of more than `MOST_PARAMETERS` raises `UserError("bad-architecture")` before they are allocated.
    """
    with _counted_parameters():
        return HandMadeNet(described) if isinstance(described, HandMade) else PoseNet(described)


@contextmanager
def _counted_parameters() -> Iterator[None]:
    """Count what is built inside, and stop where no machine would hold it."""
    total = 0

    def add(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal total
        total += parameter.numel()
        if total > MOST_PARAMETERS:
            found = f"a net of more than {MOST_PARAMETERS:,} parameters"
            raise UserError("bad-architecture", found, "smaller widths, or fewer cells")

    hook = register_module_parameter_registration_hook(add)
    try:
        yield
    finally:
        hook.remove()


def fixed_mixings(described: Description) -> dict[str, Mixing]:
    """The multipliers stored in a description, one mixing per fabric."""
    shares = described.width_shares if isinstance(described, Architecture) else {}
    return {name: FixedMixing(genotype, shares.get(name)) for name, (_, genotype) in described.fabrics().items()}


def softmax_mixings(architecture: Architecture) -> dict[str, Mixing]:
    """Trainable logits over a supernet's choices, one mixing per fabric; parts that share theirs have one module."""
    return _mixings(architecture, SoftmaxMixing)


def gumbel_mixings(architecture: Architecture, *, hard: bool) -> dict[str, Mixing]:
    """Trainable logits over a supernet's choices that are drawn; otherwise as `softmax_mixings`."""
    return _mixings(architecture, partial(GumbelMixing, hard=hard))


def _mixings(architecture: Architecture, new: Callable[[SearchSpace, Genotype], Mixing]) -> dict[str, Mixing]:
    built: dict[str, Mixing] = {}
    for name, (space, genotype) in architecture.fabrics().items():
        shared = next(iter(built.values()), None) if space.share_parts and name != BACKBONE else None
        built[name] = new(space, genotype) if shared is None else shared
    return built


def sampled_mixings(architecture: Architecture) -> dict[str, Mixing]:
    """For a supernet that is run one net at a time, one mixing per fabric."""
    shares = architecture.width_shares
    return {name: SampledMixing(genotype, shares.get(name)) for name, genotype in architecture.all_genotypes().items()}


@torch.no_grad()
def mixture(net: PoseNet) -> Architecture:
    """The architecture with the multipliers that the net's mixings give now: the paper's final, dense network."""
    return mixed(net.architecture, {name: mixing for name, mixing in net.mixing.items() if isinstance(mixing, Mixing)})


def mixed(whole: Architecture, mixings: Mapping[str, Mixing]) -> Architecture:
    """An architecture with the multipliers and the shares of widths that mixings give now."""
    shares = {name: mixing.width_shares() for name, mixing in mixings.items()}
    found = whole.with_genotypes({name: as_genotype(mixing()) for name, mixing in mixings.items()})
    return replace(found, width_shares={name: _as_data(widths) for name, widths in shares.items() if widths})


def _as_data(shares: Shares) -> dict[int, tuple[float, ...]]:
    return {stride: tuple(map(float, of_widths)) for stride, of_widths in shares.items()}


def _check_buildable(described: Description) -> None:
    """What only the builder can know: names that `nn.ModuleDict` keeps for itself."""
    for part in described.partition:
        if hasattr(nn.ModuleDict(), part):
            raise UserError("bad-architecture", f"the part name '{part}' cannot be used", "another word")
