"""The authors' backbones, by the names of their tensors.

MobileNetV2 is the widespread `features.{n}`: a convolution, then seventeen blocks of which the last is never read.
ResNet and HRNet-W32 (its fourth stage left out) are called as in their first releases, and so are timm's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

MOBILENETV2_BLOCKS = {
    "feature4.2": 1,
    "feature4.3": 2,
    "feature8": 3,
    "feature16.0": 4,
    "feature16.1": 3,
    "feature32": 3,
}
"""Our groups of inverted residual blocks and how many each has, in order."""

EXPANDING = {0: "conv_pw", 1: "bn1", 3: "conv_dw", 4: "bn2", 6: "conv_pwl", 7: "bn3"}
FIRST_BLOCK = {0: "conv_dw", 1: "bn1", 3: "conv_pw", 4: "bn2"}
"""Their index in a block's layers -> ours; the first block does not expand."""

Names = Iterator[tuple[str, str]]


def _mobilenetv2() -> Names:
    yield "features.0.0", "stages.feature4.0"
    yield "features.0.1", "stages.feature4.1"
    blocks = [f"{group}.{index}" for group, count in MOBILENETV2_BLOCKS.items() for index in range(count)]
    for number, block in enumerate(blocks, start=1):
        for index, layer in (FIRST_BLOCK if number == 1 else EXPANDING).items():
            yield f"features.{number}.conv.{index}", f"stages.{block}.{layer}"


def _resnet() -> Names:
    yield from zip(("conv1", "bn1", "layer1"), (f"stages.feature4.{i}" for i in (0, 1, 4)), strict=True)
    yield from zip(("layer2", "layer3", "layer4"), (f"stages.feature{s}" for s in (8, 16, 32)), strict=True)


def _hrnet() -> Names:
    yield from zip(("conv1", "bn1", "conv2", "bn2", "layer1"), (f"stem.{i}" for i in (0, 1, 3, 4, 6)), strict=True)
    yield from (("transition1", "transitions.0"), ("stage2", "stages.0"))
    yield from (("transition2", "transitions.1"), ("stage3", "stages.1"), ("transition3.3", "coarsest"))


_NAMES: dict[str, Callable[[], Names]] = {
    "mobilenetv2_100": _mobilenetv2,
    "resnet18": _resnet,
    "resnet50": _resnet,
    "hrnet_w32": _hrnet,
}

_FIRST_CONVOLUTIONS = {
    "mobilenetv2_100": "features.0.0",
    "resnet18": "conv1",
    "resnet50": "conv1",
    "hrnet_w32": "conv1",
    "fabric": "stem.0",
}

_UNREAD = {
    "mobilenetv2_100": r"features\.(17|18)\.|conv\.|classifier\.",
    "resnet18": r"fc\.",
    "resnet50": r"fc\.",
    "hrnet_w32": r"(stage4|incre_modules|downsamp_modules|final_layer|classifier)\.",
    "fabric": r"final_layer\.",
}
"""What follows the last map that a part reads."""

_SIGNS = {
    "fabric": "alphas",
    "mobilenetv2_100": "features.0.0.weight",
    "hrnet_w32": "stage2.0.branches.0.0.conv1.weight",
}
_SIGNS |= {"resnet50": "layer1.0.conv3.weight", "resnet18": "layer1.0.conv2.weight"}
"""A tensor by which a backbone is known, those that others have, too, last."""


def named_modules(backbone: str) -> Names:
    """Their name and ours of every module of a backbone that is no fabric; ends of names stay as they are."""
    for theirs, ours in _NAMES[backbone]():
        yield f"backbone.{theirs}", f"backbone.{ours}"


def first_convolution(backbone: str) -> str:
    """Their name of the weight that meets the image."""
    return f"backbone.{_FIRST_CONVOLUTIONS[backbone]}.weight"


def is_unread(backbone: str, name: str) -> bool:
    """Whether a tensor belongs to the end of a classification network, after all maps that are read."""
    return re.match(r"backbone\.(?:" + _UNREAD[backbone] + ")", name) is not None


def recognised(names: Iterable[str]) -> str | None:
    """Which backbone a file holds, by the names of its tensors."""
    known = set(names)
    return next((backbone for backbone, sign in _SIGNS.items() if f"backbone.{sign}" in known), None)
