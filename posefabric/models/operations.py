"""What an edge of a cell computes: the paper's operations (PNFS section III-B), each B C h w -> the same shape.

Everything follows the released code: convolution, BatchNorm without affine parameters, ReLU last. `zero` is not here:
it has a logit in every mixture and no module. Where a search chooses widths, a mask stands after every norm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from torch import nn

from posefabric.models.slimming import Slimmable


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False)


def _separable(channels: int, dilation: int) -> list[nn.Module]:
    """Depthwise 3x3, pointwise 1x1, norm, ReLU."""
    return [
        nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        _norm(channels),
        nn.ReLU(),
    ]


def skip_connect(channels: int) -> nn.Module:
    return Slimmable()


def sep_conv_3x3(channels: int) -> nn.Module:
    """Two separable 3x3 convolutions, one after the other."""
    return Slimmable(*_separable(channels, dilation=1), *_separable(channels, dilation=1))


def dil_conv_3x3(channels: int) -> nn.Module:
    """One separable 3x3 convolution of dilation 2 (the paper's atrous convolution)."""
    return Slimmable(*_separable(channels, dilation=2))


def avg_pool_3x3(channels: int) -> nn.Module:
    return Slimmable(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), _norm(channels))


def max_pool_3x3(channels: int) -> nn.Module:
    return Slimmable(nn.MaxPool2d(3, stride=1, padding=1), _norm(channels))


OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    operation.__name__: operation
    for operation in (skip_connect, sep_conv_3x3, dil_conv_3x3, avg_pool_3x3, max_pool_3x3)
}
"""Name -> builder from a number of channels."""


@cache
def has_weights(name: str) -> bool:
    """Whether an operation learns; `zero` does not."""
    return name in OPERATIONS and any(True for _ in OPERATIONS[name](1).parameters())
