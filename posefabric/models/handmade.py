"""Hand-made heads, each in the place of a part's fabric: stride -> feature map in, one map at stride 4 out.

Blocks are timm's where it has them. What the widths of a kind count stands in `posefabric.handmade.HEADS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from jaxtyping import Float
from timm.models.hrnet import HighResolutionModule
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn import functional as F

from posefabric.handmade import HandMade
from posefabric.models.fabric import lateral
from posefabric.models.head import VectorHead

Channels = Mapping[int, int]
Maps = Mapping[int, Float[Tensor, "B _ _ _"]]


class HandMadeHead(nn.Module):
    """What every kind is; `channels` are those of the map it gives."""

    channels: int


class Deconvolution(HandMadeHead):
    """SimpleBaseline: transposed 4x4 convolutions of stride 2 with BatchNorm and ReLU, from stride 32 up to 4."""

    def __init__(self, feature_channels: Channels, widths: tuple[int, ...]) -> None:
        super().__init__()
        ((self.stride, coarsest),) = feature_channels.items()
        layers: list[nn.Module] = []
        for before, after in pairwise((coarsest, *widths)):
            upward = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)
            layers += [upward, nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.channels = widths[-1]

    def forward(self, features: Maps) -> Float[Tensor, "B C h w"]:
        part_map: Tensor = self.layers(features[self.stride])
        return part_map


class Stage4(HandMadeHead):
    """HRNet's fourth stage: three times four basic blocks at every scale, then an exchange; the last gives stride 4."""

    def __init__(self, feature_channels: Channels, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.laterals = _laterals(feature_channels, widths)
        self.exchanges = nn.Sequential(*(_exchange(widths, last=number == 2) for number in range(3)))
        self.channels = widths[0]

    def forward(self, features: Maps) -> Float[Tensor, "B C h w"]:
        (output,) = self.exchanges([layer(features[int(stride)]) for stride, layer in self.laterals.items()])
        part_map: Tensor = output
        return part_map


class Hourglass(HandMadeHead):
    """One hourglass over the map of stride 4, then a residual block and a 1x1 convolution with BatchNorm and ReLU."""

    def __init__(self, feature_channels: Channels, widths: tuple[int, ...]) -> None:
        super().__init__()
        (self.stride,) = feature_channels
        self.channels, *inner = widths
        self.laterals = _laterals(feature_channels, widths[:1])
        self.hourglass = _Scale(self.channels, inner)
        self.after = nn.Sequential(
            PreActivation(self.channels, inner[0]),
            nn.Conv2d(self.channels, self.channels, 1, bias=False),
            nn.BatchNorm2d(self.channels),
            nn.ReLU(),
        )

    def forward(self, features: Maps) -> Float[Tensor, "B C h w"]:
        part_map: Tensor = self.after(self.hourglass(self.laterals[str(self.stride)](features[self.stride])))
        return part_map


class _Scale(nn.Module):
    """An hourglass from one scale down: beside it a block, below it half the size, both added."""

    def __init__(self, channels: int, inner: list[int]) -> None:
        super().__init__()
        here, *below = inner
        self.beside, self.down, self.up = (PreActivation(channels, width) for width in (here, below[0], below[0]))
        self.bottom = _Scale(channels, below) if len(below) > 1 else PreActivation(channels, below[0])

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        below = self.up(self.bottom(self.down(F.max_pool2d(maps, 2))))
        total: Tensor = self.beside(maps) + F.interpolate(below, scale_factor=2.0, mode="nearest")
        return total


class PreActivation(nn.Module):
    """The hourglass's residual block: 1x1, 3x3 and 1x1 convolutions, each after BatchNorm and ReLU."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, inner, 1, bias=False)),
            *(nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, inner, 3, padding=1, bias=False)),
            *(nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, channels, 1)),
        )

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        total: Tensor = maps + self.layers(maps)
        return total


class Residual(HandMadeHead):
    """A part branch: all scales brought to stride 4 and to one width by a 1x1 convolution, then bottleneck blocks."""

    def __init__(self, feature_channels: Channels, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = tuple(feature_channels)
        self.channels, *inner = widths
        self.lateral = nn.Conv2d(sum(feature_channels.values()), self.channels, 1)
        self.blocks = nn.Sequential(*(Bottleneck(self.channels, width) for width in inner))

    def forward(self, features: Maps) -> Float[Tensor, "B C h w"]:
        finest = features[self.strides[0]]
        maps = [finest] + [
            F.interpolate(features[stride], size=finest.shape[2:], mode="bilinear", align_corners=True)
            for stride in self.strides[1:]
        ]
        part_map: Tensor = self.blocks(self.lateral(torch.cat(maps, dim=1)))
        return part_map


class Bottleneck(nn.Module):
    """ResNet's block: 1x1, 3x3 and 1x1 convolutions, each before BatchNorm, ReLU last."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()),
            *(nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()),
            *(nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels)),
        )

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        return torch.relu(maps + self.layers(maps))


HEADS: dict[str, Callable[[Channels, tuple[int, ...]], HandMadeHead]] = {
    "deconvolution": Deconvolution,
    "hrnet_stage4": Stage4,
    "hourglass": Hourglass,
    "residual": Residual,
}
"""Name -> builder from the channels of the features it reads and its widths."""


class HandMadePart(nn.Module):
    """One part of the body: its hand-made head, its vectors."""

    def __init__(self, described: HandMade, part: str, feature_channels: Channels) -> None:
        super().__init__()
        read = {stride: feature_channels[stride] for stride in described.feature_strides}
        self.body = HEADS[described.head](read, described.widths[part])
        self.head = VectorHead(
            self.body.channels, len(described.partition[part]), described.vector_dim, described.activation
        )

    def forward(self, features: Maps) -> Float[Tensor, "B J h w"]:
        scores: Tensor = self.head(self.body(features))
        return scores


def _laterals(feature_channels: Channels, widths: tuple[int, ...]) -> nn.ModuleDict:
    pairs = zip(feature_channels.items(), widths, strict=True)
    return nn.ModuleDict({str(stride): lateral(channels, width) for (stride, channels), width in pairs})


def _exchange(widths: tuple[int, ...], *, last: bool) -> nn.Module:
    scales = len(widths)
    return HighResolutionModule(
        scales, BasicBlock, (4,) * scales, list(widths), widths, fuse_method="SUM", multi_scale_output=not last
    )
