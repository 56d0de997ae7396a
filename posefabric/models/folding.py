"""A net without the traces of its search: every fixed multiplier and every norm goes into a convolution.

`folded` gives the same heatmaps (stages 4 to 7) from convolutions, ReLU, pools and sums alone. Where a mix adds a map
as it is, the whole sum is divided by the multiplier of that map, and what reads the sum takes it over as a *gain*.
Whatever is in a cell commutes with a positive gain (convolutions, ReLU, pools), so it ends in the cell's projection.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from posefabric.architecture import Architecture
from posefabric.backbone import BACKBONE
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype, bad_field
from posefabric.models.backbones import FabricBackbone, Features
from posefabric.models.fabric import Cell, Fabric
from posefabric.models.folded import (
    ChannelAffine,
    FoldedCell,
    FoldedFabric,
    FoldedFabricBackbone,
    FoldedNet,
    FoldedPart,
    Mix,
    Scale,
)
from posefabric.models.net import PartNet, PoseNet, mixture
from posefabric.models.norms import fold_norms, norm_pairs

LEAST_GAIN = 1 / 64
"""A map whose multiplier is a smaller share of the mix's largest is multiplied itself: the others would become huge."""

Term = tuple[str, float, list[nn.Module]]
"""What is read, its multiplier, and the layers in between; without layers it is the map itself."""

LINEAR = (nn.AvgPool2d, nn.Upsample)
"""Layers f with f(a x) = a f(x) for any a; convolutions are counted apart."""

HOMOGENEOUS = (*LINEAR, nn.ReLU, nn.MaxPool2d)
"""Layers f with f(a x) = a f(x) for a > 0."""


@torch.no_grad()
def folded(net: PoseNet) -> FoldedNet:
    """The net for inference, with the multipliers that its mixings give now; the given one is left as it is.

    Heatmaps are equal up to rounding (1e-5 in float32; the folding itself is float64). MACs are those of the given net,
    less what it spends on choices of weight 0 and on slots of a cell that read the same map (`boundary="repeat"`):
    these share one convolution. What no convolution can take stays as `Scale` (multipliers of 0 or below after a ReLU,
    maps that are added with another multiplier than the largest) or as `ChannelAffine` (norms after pools). The tensors
    of the result take no gradient. Widths that are not decided raise `UserError("bad-architecture")`.
    """
    if net.architecture.partial:
        raise UserError("bad-architecture", "a supernet with partial channels", "a net derived from it")
    if mixture(net).width_shares:
        raise bad_field("width_shares", "leaves widths open", "a derived net, whose widths are decided")
    alive = without_zeros(mixture(net))
    like = next(net.parameters())
    whole = _without_mixings(net, alive)
    fold_norms(whole.double(), norm_pairs(whole, like.new_zeros(1, 3, *_small_hw(alive), dtype=torch.float64)))
    parts = {}
    for name, part in whole.parts.items():
        assert isinstance(part, PartNet)
        parts[name] = FoldedPart(part.laterals, _fabric(part.fabric, alive.genotypes[name]), part.head)
    result = FoldedNet(_backbone(whole.backbone, alive), parts, whole.fusion)
    return result.to(like.dtype).eval().requires_grad_(False)


def _without_mixings(net: PoseNet, architecture: Architecture) -> PoseNet:
    """A copy with what an architecture keeps of a net, its multipliers fixed; no weight is drawn on the way."""
    with torch.device("meta"):
        copied = PoseNet(architecture)
    state = net.state_dict()
    copied.to_empty(device=next(net.parameters()).device)
    copied.load_state_dict({name: state[name] for name in copied.state_dict()})
    copied.fusion = copy.deepcopy(net.fusion)  # its buffers are not part of the state
    return copied.eval()


def _small_hw(architecture: Architecture) -> tuple[int, int]:
    """A crop that every stride divides: small, to see in which order layers run."""
    coarsest = max(space.strides[-1] for space, _ in architecture.fabrics().values())
    return max(coarsest, 32), max(coarsest, 32)


def without_zeros(architecture: Architecture) -> Architecture:
    """Without choices of weight 0, wherever another choice of the same input or edge is left; pruned after that."""
    return architecture.with_genotypes(
        {
            fabric: Genotype(
                {
                    site: CellChoice(_nonzero(cell.inputs), tuple(_nonzero(edge) for edge in cell.edges))
                    for site, cell in genotype.cells.items()
                }
            )
            for fabric, genotype in architecture.all_genotypes().items()
        }
    )


def _nonzero(weights: Mapping[str, float]) -> dict[str, float]:
    return {name: weight for name, weight in weights.items() if weight != 0} or dict(weights)


def _backbone(backbone: nn.Module, architecture: Architecture) -> Features:
    if not isinstance(backbone, FabricBackbone):
        assert isinstance(backbone, Features)
        return backbone
    _, genotype = architecture.fabrics()[BACKBONE]
    fabric = _fabric(backbone.fabric, genotype)
    return FoldedFabricBackbone(nn.Sequential(*_layers(backbone.stem)), backbone.stem_stride, fabric, backbone.channels)


def _fabric(fabric: Fabric, genotype: Genotype) -> FoldedFabric:
    cells = {}
    for name, cell in fabric.cells.items():
        assert isinstance(cell, Cell)
        cells[name] = _cell(cell, genotype.cells[name])
    return FoldedFabric(cells, fabric.outputs)


def _cell(cell: Cell, choice: CellChoice) -> FoldedCell:
    terms: list[Term] = [
        (cell.origins[slot], choice.inputs[slot], _layers(transition)) for slot, transition in cell.transitions.items()
    ]
    inputs, gain = _mix(_merged(terms), max(map(abs, choice.inputs.values())))
    gains = {"0": gain}
    nodes = {}
    for node, incoming in cell.nodes.items():
        terms = []
        for index, start in incoming:
            for name, operation in cell.edges[f"{start}_{node}"].items():
                layers, rest = _reading(_layers(operation), gains[str(start)])
                terms.append((str(start), rest * choice.edges[index][name], layers))
        nodes[str(node)], gains[str(node)] = _mix(terms, max(abs(factor) for _, factor, _ in terms))
    blocks = [weight * gains[node] for node, weight in cell.projection.weights.items()]
    return FoldedCell(inputs, nodes, _convolution(torch.cat(blocks, dim=1), cell.projection.bias))


def _merged(terms: Sequence[Term]) -> list[Term]:
    """Terms that read the same map are one: of the summed multiplier, or of the summed convolution.

    A transition begins with its convolution, and no other of its layers has parameters.
    """
    merged: dict[str, Term] = {}
    for origin, factor, layers in terms:
        if not layers:
            _, before, _ = merged.get(origin, (origin, 0.0, []))
            merged[origin] = origin, before + factor, []
            continue
        layers = _multiplied(layers, factor)
        if origin in merged:
            for tensor, other in zip(merged[origin][2][0].parameters(), layers[0].parameters(), strict=True):
                tensor.add_(other)
        else:
            merged[origin] = origin, 1.0, layers
    return list(merged.values())


def _mix(terms: Sequence[Term], largest: float) -> tuple[Mix, float]:
    """The sum of the terms divided by a gain > 0, and the gain; `largest` is that of the multipliers given."""
    gain = max((factor for _, factor, layers in terms if not layers), default=1.0)
    if gain < LEAST_GAIN * largest or gain <= 0:
        gain = 1.0
    plain = [source for source, factor, layers in terms if not layers and factor == gain]
    computed = [
        (source, nn.Sequential(*_multiplied(layers, factor / gain)))
        for source, factor, layers in terms
        if layers or factor != gain
    ]
    return Mix(plain, computed), gain


def _reading(layers: list[nn.Module], gain: float) -> tuple[list[nn.Module], float]:
    """The layers as readers of a map that lacks a gain > 0, and what of the gain is left for their result."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            layer.weight *= gain
        elif isinstance(layer, ChannelAffine):
            layer.scale *= gain
        elif isinstance(layer, HOMOGENEOUS):
            continue
        else:
            return [Scale(gain), *layers], 1.0
        return layers, 1.0
    return layers, gain


def _multiplied(layers: list[nn.Module], factor: float) -> list[nn.Module]:
    """The layers with their result multiplied: by the last that can take it, else by one more."""
    for layer in reversed(layers):
        if isinstance(layer, (nn.Conv2d, ChannelAffine)):
            for tensor in (*layer.parameters(), *layer.buffers()):
                tensor *= factor
            return layers
        if not isinstance(layer, LINEAR) and not (isinstance(layer, HOMOGENEOUS) and factor > 0):
            break
    return layers if factor == 1 else [*layers, Scale(factor)]


def _layers(module: nn.Module) -> list[nn.Module]:
    """One after the other, without those that do nothing; a norm that no convolution took as its scale and shift."""
    if isinstance(module, nn.Sequential):
        return [layer for child in module for layer in _layers(child)]
    if isinstance(module, nn.BatchNorm2d):
        return [_affine(module)]
    return [] if isinstance(module, nn.Identity) else [module]


def _affine(norm: nn.BatchNorm2d) -> ChannelAffine:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = torch.rsqrt(variance + norm.eps) * (1.0 if norm.weight is None else norm.weight)
    return ChannelAffine(scale, (0.0 if norm.bias is None else norm.bias) - mean * scale)


def _convolution(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A 1x1 convolution of the given tensors."""
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None, device="meta")
    convolution.weight = nn.Parameter(weight)
    convolution.bias = None if bias is None else nn.Parameter(bias)
    return convolution
