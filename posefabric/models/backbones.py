"""Stage 4 of the walk: a batch of crops in, one feature map per stride out.

A backbone is a module with `channels` (stride -> channels, finest first) whose forward gives exactly those maps. It
is built only as deep as the coarsest stride that somebody reads.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
from jaxtyping import Float
from torch import Tensor, nn

from posefabric.backbone import FABRIC, Backbone
from posefabric.errors import UserError, unknown_name
from posefabric.models.fabric import Fabric
from posefabric.models.mixing import CellWeights
from posefabric.models.slimming import Masks, Shares, WidthMasks, slim
from posefabric.space import feature_name

STEM_CHANNELS = 64


class Features(nn.Module):
    """What every backbone is: images in, stride -> map out, with the declared `channels`."""

    channels: dict[int, int]


class Stages(Features):
    """A classification network cut into one stage per stride."""

    def __init__(self, stages: Mapping[int, nn.Module], channels: Mapping[int, int]) -> None:
        super().__init__()
        self.stages = nn.ModuleDict({feature_name(stride): stage for stride, stage in stages.items()})
        self.channels = {stride: channels[stride] for stride in stages}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[int, Tensor]:
        features, x = {}, images
        for stride, stage in zip(self.channels, self.stages.values(), strict=True):
            features[stride] = x = stage(x)
        return features


class HighResolution(Features):
    """HRNet up to its third stage, with the transition to a fourth scale (PNFS section IV: stage 4 is left out)."""

    def __init__(self, network: nn.Module, strides: tuple[int, ...], channels: Mapping[int, int]) -> None:
        super().__init__()
        self.channels = {stride: channels[stride] for stride in strides}
        self.stem = nn.Sequential(
            *(getattr(network, name) for name in ("conv1", "bn1", "act1", "conv2", "bn2", "act2", "layer1"))
        )
        self.transitions: Sequence[nn.ModuleList] = nn.ModuleList(  # type: ignore[assignment]
            network.get_submodule(f"transition{i}") for i in (1, 2)
        )
        self.stages = nn.ModuleList(network.get_submodule(f"stage{i}") for i in (2, 3))
        coarsest = network.get_submodule("transition3.3")
        self.coarsest = coarsest if len(strides) == 4 else None

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[int, Tensor]:
        branches = [self.stem(images)]
        for layers, stage in zip(self.transitions, self.stages, strict=True):
            kept = [*branches, *[branches[-1]] * (len(layers) - len(branches))]
            branches = stage([layer(branch) for layer, branch in zip(layers, kept, strict=True)])
        if self.coarsest is not None:
            branches = [*branches, self.coarsest(branches[-1])]
        return dict(zip(self.channels, branches, strict=False))


class FabricBackbone(Features):
    """A stem to stride 4 and the first layers of a fabric (PNFS section III-B, CNF backbone).

    The stem is two 3x3 convolutions of stride 2, ReLU after the second only, and a 1x1 convolution.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        assert backbone.space is not None
        assert backbone.genotype is not None
        space = backbone.space
        widths = backbone.channels()
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM_CHANNELS, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(STEM_CHANNELS),
            nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(STEM_CHANNELS),
            nn.ReLU(),
            nn.Conv2d(STEM_CHANNELS, widths[space.strides[0]], 1, bias=False),
        )
        self.masks = WidthMasks(space, widths)
        self.fabric = Fabric(space, backbone.genotype, widths)
        self.channels = {stride: widths[stride] for stride in self.fabric.outputs}
        (self.stem_stride,) = space.input_strides

    def forward(
        self, images: Float[Tensor, "B 3 H W"], weights: Mapping[str, CellWeights], shares: Shares | None = None
    ) -> dict[int, Tensor]:
        masks: Masks = self.masks(shares or {})
        stem = slim(self.stem(images), masks.get(self.stem_stride))
        features: dict[int, Tensor] = self.fabric({self.stem_stride: stem}, weights, masks)
        return features


def _resnet(network: nn.Module, strides: tuple[int, ...]) -> Features:
    stem = [network.get_submodule(name) for name in ("conv1", "bn1", "act1", "maxpool", "layer1")]
    layers = [network.get_submodule(f"layer{i}") for i in (2, 3, 4)]
    stages = dict(zip((4, 8, 16, 32), [nn.Sequential(*stem), *layers], strict=True))
    infos: list[dict[str, Any]] = network.feature_info  # type: ignore[assignment]
    channels = {info["reduction"]: info["num_chs"] for info in infos}
    return Stages({s: stages[s] for s in strides}, channels)


def _mobilenetv2(network: nn.Module, strides: tuple[int, ...]) -> Features:
    blocks = [network.get_submodule(f"blocks.{i}") for i in range(6)]
    stages = {
        4: nn.Sequential(network.get_submodule("conv_stem"), network.get_submodule("bn1"), *blocks[:2]),
        8: blocks[2],
        16: nn.Sequential(*blocks[3:5]),
        32: blocks[5],
    }
    return Stages({s: stages[s] for s in strides}, {4: 24, 8: 32, 16: 96, 32: 160})


def _hrnet_w32(network: nn.Module, strides: tuple[int, ...]) -> Features:
    return HighResolution(network, strides, {4: 32, 8: 64, 16: 128, 32: 256})


BACKBONES: dict[str, Callable[[nn.Module, tuple[int, ...]], Features]] = {
    "resnet18": _resnet,
    "resnet50": _resnet,
    "mobilenetv2_100": _mobilenetv2,
    "hrnet_w32": _hrnet_w32,
}
"""timm model name -> how its layers become features."""

STRIDES = (4, 8, 16, 32)


def build_backbone(backbone: Backbone, coarsest: int) -> Features:
    """A backbone with random weights, down to the stride `coarsest`. Unknown names raise `UserError`."""
    if backbone.name == FABRIC:
        return FabricBackbone(backbone)
    return _cut(backbone.name, timm.create_model(_known(backbone.name)), coarsest)


def pretrained_state(name: str, coarsest: int, given: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The state of `build_backbone` with ImageNet weights: timm's own, or those given in timm's names.

    Raises `UserError("missing-weights")` when timm's are not on this machine and cannot be fetched, and for others.
    """
    overlay = {"state_dict": dict(given)} if given is not None else None
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            network = timm.create_model(_known(name), pretrained=True, pretrained_cfg_overlay=overlay)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UserError("missing-weights", f"ImageNet weights of {name} could not be loaded: {error}") from error
    return _cut(name, network, coarsest).state_dict()


def _known(name: str) -> str:
    if name not in BACKBONES:
        raise unknown_name("backbone", name, (*BACKBONES, FABRIC))
    return name


def _cut(name: str, network: nn.Module, coarsest: int) -> Features:
    return BACKBONES[name](network, tuple(stride for stride in STRIDES if stride <= coarsest))
