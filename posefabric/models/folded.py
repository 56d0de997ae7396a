"""The modules of a folded net (`posefabric.models.folding`): the forward pass of `PoseNet` without a mixing.

A map in here may stand for a multiple of itself: the multiple has gone into the convolutions that read it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posefabric.models.backbones import Features
from posefabric.models.head import Fusion, VectorHead
from posefabric.space import feature_name


class Scale(nn.Module):
    """A multiplier that no convolution could take."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        return maps * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:g}"


class ChannelAffine(nn.Module):
    """A scale and a shift per channel: what is left of a norm that follows no convolution."""

    def __init__(self, scale: Float[Tensor, " C"], shift: Float[Tensor, " C"]) -> None:
        super().__init__()
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", shift[:, None, None])
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        return torch.addcmul(self.shift, maps, self.scale)


class Mix(nn.Module):
    """A sum of terms, each a map by name or what a module makes of it."""

    def __init__(self, plain: Sequence[str], computed: Sequence[tuple[str, nn.Module]]) -> None:
        super().__init__()
        self.plain = tuple(plain)
        self.sources = tuple(source for source, _ in computed)
        self.computed = nn.ModuleList(module for _, module in computed)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        terms = [maps[source] for source in self.plain]
        terms += [module(maps[source]) for source, module in zip(self.sources, self.computed, strict=True)]
        return functools.reduce(torch.add, terms)


class FoldedCell(nn.Module):
    """One cell: ReLU of the mixed inputs is node 0, `nodes` are mixes of those before, all but 0 are projected."""

    def __init__(self, inputs: Mix, nodes: Mapping[str, Mix], projection: nn.Conv2d) -> None:
        super().__init__()
        self.inputs = inputs
        self.nodes = nn.ModuleDict(nodes)
        self.projection = projection

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        nodes = {"0": torch.relu(self.inputs(maps))}
        for name, mix in self.nodes.items():
            nodes[name] = mix(nodes)
        found = [nodes[name] for name in self.nodes]
        output: Tensor = self.projection(torch.cat(found, dim=1) if len(found) > 1 else found[0])
        return output


class FoldedFabric(nn.Module):
    """As `Fabric`, of folded cells."""

    def __init__(self, cells: Mapping[str, FoldedCell], outputs: Mapping[int, str]) -> None:
        super().__init__()
        self.cells = nn.ModuleDict(cells)
        self.outputs = dict(outputs)

    def forward(self, features: Mapping[int, Float[Tensor, "B _ _ _"]]) -> dict[int, Float[Tensor, "B _ _ _"]]:
        maps = {feature_name(stride): feature for stride, feature in features.items()}
        for name, cell in self.cells.items():
            maps[name] = cell(maps)
        return {stride: maps[name] for stride, name in self.outputs.items()}


class FoldedFabricBackbone(Features):
    """As `FabricBackbone`, with a folded fabric."""

    def __init__(self, stem: nn.Module, stem_stride: int, fabric: FoldedFabric, channels: Mapping[int, int]) -> None:
        super().__init__()
        self.stem, self.stem_stride, self.fabric = stem, stem_stride, fabric
        self.channels = dict(channels)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[int, Tensor]:
        features: dict[int, Tensor] = self.fabric({self.stem_stride: self.stem(images)})
        return features


class FoldedPart(nn.Module):
    """As `PartNet`: laterals of its own, its folded fabric, its head."""

    def __init__(self, laterals: nn.ModuleDict, fabric: FoldedFabric, head: VectorHead) -> None:
        super().__init__()
        self.laterals, self.fabric, self.head = laterals, fabric, head

    def part_map(self, features: Mapping[int, Tensor]) -> Float[Tensor, "B C h w"]:
        """The output of the fabric."""
        inputs = {int(stride): lateral(features[int(stride)]) for stride, lateral in self.laterals.items()}
        (output,) = self.fabric(inputs).values()
        part_map: Tensor = output
        return part_map

    def forward(self, features: Mapping[int, Tensor]) -> Float[Tensor, "B J h w"]:
        scores: Tensor = self.head(self.part_map(features))
        return scores


class FoldedNet(nn.Module):
    """Crops in, one heatmap per keypoint out: the values of the net it was folded from, for inference alone."""

    def __init__(self, backbone: Features, parts: Mapping[str, FoldedPart], fusion: Fusion) -> None:
        super().__init__()
        self.backbone = backbone
        self.parts = nn.ModuleDict(parts)
        self.fusion = fusion

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        features = self.backbone(images)
        heatmaps: Tensor = self.fusion({name: part(features) for name, part in self.parts.items()})
        return heatmaps


class Footprint(NamedTuple):
    """The size of a net: its tensors' numbers (parameters and buffers), its modules that hold no others."""

    numbers: int
    modules: int


def footprint(net: nn.Module) -> Footprint:
    """Counters of batches, which no forward pass reads in eval mode, are left out."""
    numbers = sum(t.numel() for t in net.state_dict().values() if t.is_floating_point())
    return Footprint(numbers, sum(not list(module.children()) for module in net.modules()))
