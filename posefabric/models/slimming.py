"""Widths that are not decided yet: every scale of a supernet has its widest channels, and masks weigh them.

A width is the first so many channels. The mask of a scale is, at each channel, the share of the widths that hold it. It
stands after whatever could make a channel that is off differ from 0: every norm and every biased convolution. So where
one width has all the share, a supernet computes what the narrower net computes that takes its leading channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posefabric.space import SearchSpace

Shares = Mapping[int, Tensor | Sequence[float]]
"""Stride -> share of each width, narrowest first; empty where widths are decided."""

Masks = dict[int, Tensor]
"""Stride -> mask C 1 1."""


class Slimmable(nn.Sequential):
    """Layers one after the other, with the mask, where there is one, after every norm. Without layers: identity."""

    def forward(self, maps: Float[Tensor, "B _ _ _"], mask: Tensor | None = None) -> Float[Tensor, "B _ _ _"]:
        for layer in self:
            maps = layer(maps)
            if isinstance(layer, (nn.BatchNorm2d, nn.SyncBatchNorm)):
                maps = slim(maps, mask)
        return maps


class WidthMasks(nn.Module):
    """Called with the shares of a fabric's widths; gives its masks, none where there are no shares."""

    def __init__(self, space: SearchSpace, channels: Mapping[int, int]) -> None:
        super().__init__()
        for stride, widest in channels.items() if space.several_widths else ():
            widths = torch.tensor(space.widths(widest))[:, None]
            self.register_buffer(f"stride{stride}", torch.arange(widest) < widths, persistent=False)

    def forward(self, shares: Shares) -> Masks:
        masks = {}
        for stride, share in shares.items():
            held = self.get_buffer(f"stride{stride}")  # n C
            masks[stride] = (torch.as_tensor(share, device=held.device)[:, None] * held).sum(dim=0)[:, None, None]
        return masks


def slim(maps: Float[Tensor, "B C h w"], mask: Float[Tensor, "C 1 1"] | None) -> Float[Tensor, "B C h w"]:
    """The maps, their channels weighed."""
    return maps if mask is None else maps * mask.to(maps.dtype)


def slimmed(module: nn.Module, maps: Float[Tensor, "B _ _ _"], mask: Tensor | None) -> Float[Tensor, "B C h w"]:
    """What a module makes of the maps; it needs to know masks only where there are some."""
    result: Tensor = module(maps) if mask is None else module(maps, mask)
    return result
