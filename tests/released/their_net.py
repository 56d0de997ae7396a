"""The authors' net as one function of an image and of tensors by their names: an oracle, and a maker of checkpoints.

Written from what is known of their code (the paper, the reference nets, the released configurations), without a module
of ours, so that it can contradict the importer. Asked for a tensor that is not there, `Tensors` makes it at random:
run once on nothing it leaves a state dict with all names and shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = (4, 8, 16, 32)


@dataclass(frozen=True)
class Net:
    """What a configuration of theirs says; `parts` are keypoint indices, in the order of `reduce`."""

    num_keypoints: int
    parts: dict[str, tuple[int, ...]]
    backbone: str
    base: int
    depth: int = 6
    cut: int = 3
    operations: tuple[str, ...] = ("Zero", "skip_connect", "Sep_Conv_3x3", "Atr_Conv_3x3")
    nodes: int = 1
    vector_dim: int = 8
    second_input: bool = False
    shared: bool = True
    backbone_depth: int = 0
    backbone_keep: int = 0
    backbone_base: int = 0
    backbone_operations: tuple[str, ...] = (
        "Zero", "skip_connect", "Sep_Conv_3x3", "Atr_Conv_3x3", "avg_pool_3x3", "max_pool_3x3",
    )  # fmt: skip


@dataclass
class Tensors:
    """Tensors by name; with `random`, those that are not there are made, fit for the maps that they meet."""

    of: dict[str, Tensor] = field(default_factory=dict)
    random: torch.Generator | None = None

    def get(self, name: str, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
        if name not in self.of:
            assert self.random is not None, f"no {name}"
            self.of[name] = torch.randn(shape, generator=self.random) if like is None else like.clone()
        assert tuple(self.of[name].shape) == tuple(shape), name
        return self.of[name]

    def conv(self, name: str, x: Tensor, channels: int, kernel: int = 1, *, stride: int = 1, dilation: int = 1,
             groups: int = 1, bias: bool = False) -> Tensor:  # fmt: skip
        shape = (channels, x.shape[1] // groups, kernel, kernel)
        new = f"{name}.weight" not in self.of
        weight = self.get(f"{name}.weight", shape)
        if new:
            weight /= x.square().mean().sqrt() * math.prod(shape[1:]) ** 0.5
        added = self.get(f"{name}.bias", (channels,)) if bias else None
        return F.conv2d(x, weight, added, stride, dilation * (kernel // 2), dilation, groups)

    def norm(self, name: str, x: Tensor, *, affine: bool = True) -> Tensor:
        size = (x.shape[1],)
        weight, bias = (self.get(f"{name}.{end}", size) if affine else None for end in ("weight", "bias"))
        mean = self.get(f"{name}.running_mean", size, x.mean((0, 2, 3)))
        variance = self.get(f"{name}.running_var", size, x.var((0, 2, 3)) + x.var())
        self.get(f"{name}.num_batches_tracked", (), torch.tensor(1000))
        return F.batch_norm(x, mean, variance, weight, bias)


def heatmaps(net: Net, t: Tensors, image: Tensor) -> Tensor:
    """B 3 H W in the channel order of the net -> B K H/4 W/4, keypoints in the authors' order."""
    features = backbone(net, t, image)
    out = image.new_zeros(len(image), net.num_keypoints, image.shape[2] // 4, image.shape[3] // 4)
    for index, (part, keypoints) in enumerate(net.parts.items()):
        maps = features
        if features[0].shape[1] != SCALES[0] * net.base:
            maps = [
                t.conv(f"reduce.{index}.{level}", m, SCALES[level] * net.base, bias=True)
                for level, m in enumerate(features)
            ]
        stem(t, part, image, 4 * net.base)  # made and run, and read by nobody
        cells = Cells(t, part, net.base, net.depth, net.operations, net.nodes, net.second_input, net.shared)
        (last,) = cells.run(maps, net.cut, net.depth)
        vectors = t.conv(f"{part}.final_layer.1", last.relu(), len(keypoints) * net.vector_dim, bias=True)
        lengths = vectors.unflatten(1, (len(keypoints), net.vector_dim)).square().sum(2)
        scores = vectors if net.vector_dim == 1 else lengths / (1 + lengths)
        out.index_add_(1, torch.tensor(keypoints), scores)
    return out


def stem(t: Tensors, name: str, image: Tensor, channels: int) -> Tensor:
    x = t.norm(f"{name}.stem.1", t.conv(f"{name}.stem.0", image, 64, 3, stride=2))
    x = t.norm(f"{name}.stem.3", t.conv(f"{name}.stem.2", x, 64, 3, stride=2)).relu()
    return t.conv(f"{name}.stem.5", x, channels)


@dataclass
class Cells:
    """One fabric."""

    t: Tensors
    name: str
    base: int
    depth: int
    operations: tuple[str, ...]
    nodes: int
    second_input: bool = False
    shared: bool = True

    def run(self, maps: list[Tensor], first: int, last: int) -> list[Tensor]:
        counts = [min(layer + 2, 4, self.depth - layer) for layer in range(first, last)]
        table = (self.nodes * (self.nodes + 1) // 2, len(self.operations))
        alphas = self.t.get(f"{self.name}.alphas", table if self.shared else (sum(counts), *table))
        betas = self.t.get(f"{self.name}.betas", (sum(counts), 3))
        number = 0
        for layer, count in zip(range(first, last), counts, strict=True):
            row = []
            for scale in range(count):
                same = maps[scale] if scale < len(maps) else maps[scale - 1]
                finer = maps[scale - 1] if scale else same
                coarser = maps[scale + 1] if scale < len(maps) - 1 else same
                alpha = alphas if self.shared else alphas[number]
                row.append(self.cell(f"{layer}_{scale}", scale, (same, finer, coarser), alpha, betas[number]))
                number += 1
            maps = row
        return maps

    def cell(self, place: str, scale: int, inputs: Sequence[Tensor], alpha: Tensor, beta: Tensor) -> Tensor:
        name, channels = f"{self.name}.cell_{place}", SCALES[scale] * self.base
        shares = beta.softmax(0)
        passed = [self.transition(f"{name}.propress_list.{i}", m, channels) for i, m in enumerate(inputs)]
        states = [sum(3 * share * m for share, m in zip(shares, passed, strict=True)).relu()]
        edge = 0
        for _ in range(self.nodes):
            terms = []
            for state in states:
                terms.append(self.edge(f"{name}.cell_arch.{edge}", state, alpha[edge]))
                edge += 1
            states.append(sum(terms))
        for further in range(self.nodes) if self.second_input else ():
            self.edge(f"{name}.cell_arch.{edge + further}", states[0], alpha[0])  # made, and never fed
        return self.t.conv(f"{name}.channel_keep", torch.cat(states[1:], 1), channels, bias=True)

    def transition(self, name: str, x: Tensor, channels: int) -> Tensor:
        if x.shape[1] == channels:
            return x
        if x.shape[1] < channels:
            down = self.t.conv(f"{name}.operation.0", x, channels, 3, stride=2, bias=True)
            return self.t.norm(f"{name}.operation.1", down)
        up = self.t.norm(f"{name}.bn", self.t.conv(f"{name}.conv_1x1", x, channels, bias=True))
        return F.interpolate(up, scale_factor=2, mode="bilinear", align_corners=True)

    def edge(self, name: str, x: Tensor, alpha: Tensor) -> Tensor:
        terms = [
            share * self.operation(f"{name}.ops.{i}", operation, x)
            for i, (operation, share) in enumerate(zip(self.operations, alpha.softmax(0), strict=True))
        ]
        return len(self.operations) * sum(terms)

    def operation(self, name: str, operation: str, x: Tensor) -> Tensor:
        if operation == "Zero":
            return 0 * x
        if operation == "skip_connect":
            return x
        if operation == "avg_pool_3x3":
            return self.t.norm(f"{name}.1", F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), affine=False)
        if operation == "max_pool_3x3":
            return self.t.norm(f"{name}.1", F.max_pool2d(x, 3, 1, 1), affine=False)
        if operation == "Atr_Conv_3x3":
            return self.separable(f"{name}.operation", 0, x, dilation=2)
        assert operation == "Sep_Conv_3x3"
        return self.separable(f"{name}.operation", 4, self.separable(f"{name}.operation", 0, x))

    def separable(self, name: str, at: int, x: Tensor, dilation: int = 1) -> Tensor:
        channels = x.shape[1]
        x = self.t.conv(f"{name}.{at}", x, channels, 3, dilation=dilation, groups=channels)
        return self.t.norm(f"{name}.{at + 2}", self.t.conv(f"{name}.{at + 1}", x, channels), affine=False).relu()


def backbone(net: Net, t: Tensors, image: Tensor) -> list[Tensor]:
    """Maps at 1/4 to 1/32 of the image."""
    if net.backbone == "fabric":
        first = stem(t, "backbone", image, 4 * net.backbone_base)
        cells = Cells(t, "backbone", net.backbone_base, net.backbone_depth, net.backbone_operations, net.nodes)
        return cells.run([first], 0, net.backbone_keep)
    return {"mobilenet": mobilenet, "resnet50": resnet50, "hrnet": hrnet}[net.backbone](t, image)


def mobilenet(t: Tensors, x: Tensor) -> list[Tensor]:
    x = F.relu6(t.norm("backbone.features.0.1", t.conv("backbone.features.0.0", x, 32, 3, stride=2)))
    number, maps = 0, []
    for expansion, channels, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for index in range(count):
            number += 1
            x = _inverted(t, f"backbone.features.{number}.conv", x, channels, expansion, stride if index == 0 else 1)
            maps += [x] * (number in (3, 6, 13, 16))
    return maps


def _inverted(t: Tensors, name: str, x: Tensor, channels: int, expansion: int, stride: int) -> Tensor:
    hidden, layer, y = x.shape[1] * expansion, 0, x
    if expansion > 1:
        y, layer = F.relu6(t.norm(f"{name}.1", t.conv(f"{name}.0", y, hidden))), 3
    y = F.relu6(t.norm(f"{name}.{layer + 1}", t.conv(f"{name}.{layer}", y, hidden, 3, stride=stride, groups=hidden)))
    y = t.norm(f"{name}.{layer + 4}", t.conv(f"{name}.{layer + 3}", y, channels))
    return x + y if stride == 1 and x.shape[1] == channels else y


def resnet50(t: Tensors, x: Tensor) -> list[Tensor]:
    x = t.norm("backbone.bn1", t.conv("backbone.conv1", x, 64, 7, stride=2)).relu()
    x, maps = F.max_pool2d(x, 3, 2, 1), []
    for layer, count in enumerate((3, 4, 6, 3)):
        for index in range(count):
            stride = 2 if layer and index == 0 else 1
            x = _bottleneck(t, f"backbone.layer{layer + 1}.{index}", x, 64 * 2**layer, stride)
        maps.append(x)
    return maps


def _bottleneck(t: Tensors, name: str, x: Tensor, width: int, stride: int = 1) -> Tensor:
    y = t.norm(f"{name}.bn1", t.conv(f"{name}.conv1", x, width)).relu()
    y = t.norm(f"{name}.bn2", t.conv(f"{name}.conv2", y, width, 3, stride=stride)).relu()
    y = t.norm(f"{name}.bn3", t.conv(f"{name}.conv3", y, 4 * width))
    if x.shape[1] != 4 * width or stride > 1:
        x = t.norm(f"{name}.downsample.1", t.conv(f"{name}.downsample.0", x, 4 * width, stride=stride))
    return (x + y).relu()


def hrnet(t: Tensors, x: Tensor) -> list[Tensor]:
    """Stem, first layer, second and third stage, and what leads to a fourth."""
    x = t.norm("backbone.bn1", t.conv("backbone.conv1", x, 64, 3, stride=2)).relu()
    x = t.norm("backbone.bn2", t.conv("backbone.conv2", x, 64, 3, stride=2)).relu()
    for index in range(4):
        x = _bottleneck(t, f"backbone.layer1.{index}", x, 64)
    first = t.norm("backbone.transition1.0.1", t.conv("backbone.transition1.0.0", x, 32, 3)).relu()
    maps = [first, _halved(t, "backbone.transition1.1.0", x, 64).relu()]
    maps = _high_resolution(t, "backbone.stage2.0", maps)
    maps.append(_halved(t, "backbone.transition2.2.0", maps[-1], 128).relu())
    for module in range(4):
        maps = _high_resolution(t, f"backbone.stage3.{module}", maps)
    return [*maps, _halved(t, "backbone.transition3.3.0", maps[-1], 256).relu()]


def _halved(t: Tensors, name: str, x: Tensor, channels: int) -> Tensor:
    return t.norm(f"{name}.1", t.conv(f"{name}.0", x, channels, 3, stride=2))


def _high_resolution(t: Tensors, name: str, maps: list[Tensor]) -> list[Tensor]:
    for branch, x in enumerate(maps):
        for index in range(4):
            x = _basic(t, f"{name}.branches.{branch}.{index}", x)
        maps[branch] = x
    return [
        sum(_fused(t, f"{name}.fuse_layers.{end}.{start}", maps, start, end) for start in range(len(maps))).relu()
        for end in range(len(maps))
    ]


def _basic(t: Tensors, name: str, x: Tensor) -> Tensor:
    y = t.norm(f"{name}.bn1", t.conv(f"{name}.conv1", x, x.shape[1], 3)).relu()
    return (x + t.norm(f"{name}.bn2", t.conv(f"{name}.conv2", y, x.shape[1], 3))).relu()


def _fused(t: Tensors, name: str, maps: list[Tensor], start: int, end: int) -> Tensor:
    x, channels = maps[start], maps[end].shape[1]
    if start > end:
        x = t.norm(f"{name}.1", t.conv(f"{name}.0", x, channels))
        return F.interpolate(x, scale_factor=2 ** (start - end), mode="nearest")
    for step in range(end - start):
        last = step == end - start - 1
        x = _halved(t, f"{name}.{step}", x, channels if last else x.shape[1])
        x = x if last else x.relu()
    return x


@torch.no_grad()
def made(net: Net, *, seed: int = 0, counters: bool = True) -> dict[str, Tensor]:
    """A state dict of a net with random numbers, dead tensors and all; `counters`: as thop leaves them."""
    t = Tensors(random=torch.Generator().manual_seed(seed))
    heatmaps(net, t, torch.randn(2, 3, 64, 64, generator=t.random))
    return t.of | (_counters(t.of) if counters else {})


def _counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A pair for every module, and one for the whole."""
    words = [name.split(".") for name in tensors]
    homes = {".".join([*path[:depth], ""]) for path in words for depth in range(len(path))}
    return {f"{home}{end}": torch.zeros(1) for home in sorted(homes) for end in ("total_ops", "total_params")}
