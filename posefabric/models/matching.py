"""Nets of equal cost: an architecture as it is, only as wide as a number of MACs asks for.

Where it stands in the walk: between what is kept and the builder. Whatever is compared is first made equally dear here.
The backbone is fixed, the parts' widths are not.

The one counter counts one net. What every module costs is a product of powers of the widths; the powers show when one
after the other is made twice as wide, and then any widths are reckoned without a net.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from posefabric.architecture import Architecture
from posefabric.backbone import BACKBONE
from posefabric.errors import UserError
from posefabric.handmade import Description, HandMade
from posefabric.models.cost import count, module_macs
from posefabric.models.net import Net, build, build_part

WIDEST = 16
"""How many times its given width a part may have."""

ENOUGH = 0.998
"""The share of what parts may cost from which on no further channel is bought."""

HALVINGS = 30

D = TypeVar("D", Architecture, HandMade)

Channels = tuple[int, ...]
Widths = Mapping[str, Channels]
Powers = tuple[int, ...]
"""Per width, how often it is a factor of a module's MACs."""


class WidthCosts:
    """MACs of an architecture at any widths of its parts, without a net; those of its `backbone` never change."""

    def __init__(self, architecture: Description) -> None:
        with torch.device("meta"):
            net = build(architecture)
            features = net.backbone.channels
            self._bare = {part: _bare_widths(architecture, net, part) for part in architecture.partition}
            widths = {part: _apart(channels, self._bare[part]) for part, channels in architecture.widths.items()}
            counted = replace(architecture, widths=widths)
            macs = module_macs(build(counted).eval(), torch.empty(1, 3, *architecture.input_hw))
            own = {part: _own_macs(macs, f"parts.{part}.") for part in architecture.partition}
            powers = _powers(counted, own, features)
        self.backbone = macs[""] - sum(macs[f"parts.{part}"] for part in architecture.partition)
        self._laws = {part: Counter[Powers]() for part in own}
        self._laterals = {part: [0] * len(self._bare[part]) for part in own}
        for part, name in ((part, name) for part, names in own.items() for name in names):
            of_one_channel = own[part][name] // _product(counted.widths[part], powers[part][name])
            self._laws[part][powers[part][name]] += of_one_channel
            if "laterals." in name:
                self._laterals[part][powers[part][name].index(1)] = of_one_channel

    def part(self, part: str, channels: Channels) -> int:
        """MACs of one part; it has no lateral convolution where it is as wide as the feature it reads."""
        paid = sum(cost * _product(channels, powers) for powers, cost in self._laws[part].items())
        laterals = zip(channels, self._bare[part], self._laterals[part], strict=True)
        return paid - sum(cost * width for width, feature, cost in laterals if width == feature)

    def macs(self, widths: Widths) -> int:
        """MACs of the whole net, backbone included."""
        return sum(self.by_part(widths).values())

    def by_part(self, widths: Widths) -> dict[str, int]:
        """MACs of the parts, and under `"backbone"` of what they share."""
        return {BACKBONE: self.backbone} | {part: self.part(part, channels) for part, channels in widths.items()}


def matched(architecture: D, macs: int, *, tolerance: float = 0.02) -> D:
    """The same architecture, of fabrics or hand-made, only as wide as `macs` asks for.

    Its MACs lie between (1 - tolerance) * macs and macs. All widths grow or shrink by one factor, rounded down; what is
    left then buys channels, first those that lag behind most. A cost that no width gives raises
    `UserError("bad-value")` naming the reachable range.
    """
    costs = WidthCosts(architecture)
    matching = replace(architecture, widths=fitted_widths(costs, architecture.widths, macs, architecture.partition))
    reached = count(matching).macs
    if not (1 - tolerance) * macs <= reached <= macs:
        least, most = (costs.macs(scaled(architecture.widths, factor)) for factor in (0.0, WIDEST))
        nearest = f"{reached} MACs are the nearest, " if least <= macs <= most else ""
        allowed = f"{nearest}{least} to {most} by the widths of this architecture"
        fixed = f"(its backbone of {costs.backbone} is fixed)"
        raise UserError("bad-value", f"a net of {macs} MACs", f"{allowed} {fixed}")
    return matching


def fitted_widths(costs: WidthCosts, widths: Widths, macs: int, free: Collection[str]) -> dict[str, Channels]:
    """Widths under which a net costs at most `macs`, and nearly that: those of the parts `free`, the others stay.

    Where one channel per stride is too much already, it is what is given.
    """
    given = {part: widths[part] for part in free}

    def reached(factor: float) -> int:
        return costs.macs({**widths, **scaled(given, factor)})

    low, high = (1.0, float(WIDEST)) if reached(1.0) <= macs else (0.0, 1.0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) <= macs else (low, middle)
    return _filled_up(costs, {**widths, **scaled(given, low)}, macs, scaled(given, WIDEST))


def scaled(widths: Widths, factor: float) -> dict[str, Channels]:
    """All widths times a factor, rounded down, one channel at least."""
    return {part: tuple(max(1, int(factor * width)) for width in channels) for part, channels in widths.items()}


def _filled_up(costs: WidthCosts, widths: Widths, macs: int, most: Widths) -> dict[str, Channels]:
    """Single channels as long as they can be paid, those first that are the smallest share of the widest."""
    chosen, total = dict(widths), costs.macs(widths)
    others = total - sum(costs.part(part, widths[part]) for part in most)
    while total - others < ENOUGH * (macs - others):
        for part, wider in _one_wider(chosen, most):
            dearer = total - costs.part(part, chosen[part]) + costs.part(part, wider)
            if total < dearer <= macs:
                chosen[part], total = wider, dearer
                break
        else:
            break
    return chosen


def _one_wider(widths: Widths, most: Widths) -> Iterator[tuple[str, Channels]]:
    lagging = [
        (widths[part][i] / widest, part, i) for part, channels in most.items() for i, widest in enumerate(channels)
    ]
    for share, part, i in sorted(lagging):
        if share < 1:
            yield part, tuple(width + (i == j) for j, width in enumerate(widths[part]))


def _own_macs(macs: Mapping[str, int], prefix: str) -> dict[str, int]:
    """MACs below a module by name, of what multiplies itself and not through modules of its own."""
    inside = {name.removeprefix(prefix): cost for name, cost in macs.items() if name.startswith(prefix)}
    return {name: cost for name, cost in inside.items() if not any(other.startswith(f"{name}.") for other in inside)}


def _powers(
    architecture: Description, own: Mapping[str, Collection[str]], features: Mapping[int, int]
) -> dict[str, dict[str, Powers]]:
    """Part -> module -> powers of the widths that its weights grow with; names mean the same in all parts."""
    known: dict[tuple[str, int], Powers] = {}
    for part, names in own.items():
        given = architecture.widths[part]
        if all((name, len(given)) in known for name in names):
            continue
        sizes = []
        for doubled in (None, *range(len(given))):
            channels = tuple(2 * width if i == doubled else width for i, width in enumerate(given))
            net = build_part(replace(architecture, widths={**architecture.widths, part: channels}), part, features)
            sizes.append(
                {name: sum(p.numel() for p in net.get_submodule(name).parameters() if p.ndim > 1) for name in names}
            )
        for name in names:
            growth = (round(math.log2(size[name] / sizes[0][name])) for size in sizes[1:])
            known[name, len(given)] = tuple(growth)
    return {part: {name: known[name, len(architecture.widths[part])] for name in names} for part, names in own.items()}


def _bare_widths(architecture: Description, net: Net, part: str) -> Channels:
    """Per width, that at which a feature needs no lateral convolution, being as wide; 0 where all always do."""
    features = net.backbone.channels
    if isinstance(architecture, Architecture):
        if architecture.several_widths:  # such spaces have every lateral convolution, whatever the widths
            return (0,) * len(architecture.space.strides)
        return tuple(features.get(stride, 0) for stride in architecture.space.strides)
    body = net.parts.get_submodule(f"{part}.body")
    bare = [features[int(stride)] for stride in getattr(body, "laterals", {})]
    return (*bare, *[0] * (len(architecture.widths[part]) - len(bare)))


def _apart(channels: Channels, bare: Channels) -> Channels:
    """The next widths at which, once and twice, every lateral convolution is there to be counted."""
    return tuple(
        next(w for w in itertools.count(width) if feature not in (w, 2 * w))
        for width, feature in zip(channels, bare, strict=True)
    )


def _product(channels: Sequence[int], powers: Powers) -> int:
    return math.prod(width**power for width, power in zip(channels, powers, strict=True))
