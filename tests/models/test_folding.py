"""A folded net computes what its net computes, and holds nothing that tells of the search."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models.test_net import fill, images, open_up
from strategies_architecture import Search, searches, tiny_supernet
from torch import Tensor, nn

from posefabric.architecture import Architecture, supernet
from posefabric.backbone import Backbone, fabric_backbone
from posefabric.genotype import CellChoice, Genotype, everything
from posefabric.models.backbones import BACKBONES, STRIDES, build_backbone
from posefabric.models.cost import count, module_macs
from posefabric.models.folded import ChannelAffine, FoldedNet, Scale, footprint
from posefabric.models.folding import folded, without_zeros
from posefabric.models.mixing import Mixing
from posefabric.models.net import PoseNet, softmax_mixings
from posefabric.models.norms import fold_norms, norm_pairs
from posefabric.models.operations import OPERATIONS
from posefabric.skeletons import COCO17
from posefabric.space import SearchSpace


def filled(architecture: Architecture, seed: int = 0, *, opened: bool = True) -> PoseNet:
    """Random weights; `opened`: no ReLU shuts a map off, so that everything shows in the heatmaps."""
    net = PoseNet(architecture).eval()
    fill(net, seed)
    if opened:
        open_up(net)
    return net


@torch.no_grad()
def check(net: PoseNet) -> FoldedNet:
    """Fold in float64, compare in both precisions, and look for what must not be there."""
    found, macs, size = net(images(2)), module_macs(net, images())[""], footprint(net)
    result, rounding = compare_exactly(net.double(), found)
    net.float()
    torch.testing.assert_close(result(images(2)), found, rtol=1e-5, atol=max(1e-5, 4 * rounding))
    assert not [module for module in result.modules() if isinstance(module, (Mixing, nn.BatchNorm2d))]
    assert not [name for name, parameter in result.named_parameters() if parameter.requires_grad]
    assert module_macs(result, images())[""] == macs - repeated(net)
    assert footprint(result).numbers <= size.numbers
    assert footprint(result).modules < size.modules
    return result


def compare_exactly(net: PoseNet, found: Tensor) -> tuple[FoldedNet, float]:
    """Heatmaps and part maps in float64 (a squashed map may hide an error).

    The folded net is given in float32, and how far the given net's own float32 was off.
    """
    result, crops = folded(net), images(2).double()
    expected, features, theirs = net(crops), net.features(crops), result.backbone(crops)
    torch.testing.assert_close(result(crops), expected, rtol=1e-10, atol=1e-10 * max(1.0, float(expected.abs().max())))
    for name, part in net.parts.items():
        maps = part.part_map(features, net.mixing[name]())
        tolerance = 1e-10 * max(1.0, float(maps.abs().max()))
        torch.testing.assert_close(result.parts[name].part_map(theirs), maps, rtol=1e-10, atol=tolerance)
    return result.float(), float((found - expected).abs().max())


def repeated(net: PoseNet) -> int:
    """MACs of the transitions of a cell that read a map another one reads."""
    macs, total = module_macs(net, images()), 0
    prefixes = {part: f"parts.{part}.fabric.cells" for part in net.parts} | {"backbone": "backbone.fabric.cells"}
    for fabric, (space, genotype) in net.architecture.fabrics().items():
        for site, choice in genotype.cells.items():
            kept = [source for source in space.site(site).sources if source.slot in choice.inputs]
            origins = [source.origin for source in kept]
            for i, source in enumerate(kept):
                if source.origin in origins[:i]:
                    total += macs.get(f"{prefixes[fabric]}.{site}.transitions.{source.slot}", 0)
    return total


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(searches(), st.integers(0, 9), st.booleans())
def test_random_architectures(search: Search, seed: int, opened: bool) -> None:
    check(filled(search.found[0], seed, opened=opened))


EVERY = tuple(OPERATIONS)
STEM = fabric_backbone(SearchSpace(6, 0, 3, 1, operations=("skip_connect",)))


@pytest.mark.parametrize(
    ("operations", "num_nodes", "boundary"),
    [((name,), nodes, "repeat") for name in OPERATIONS for nodes in (1, 3)]
    + [(EVERY, nodes, boundary) for nodes in (1, 3) for boundary in ("repeat", "omit")],
)
def test_operations_nodes_and_boundaries(operations: tuple[str, ...], num_nodes: int, boundary: str) -> None:
    space = SearchSpace(6, 4, 6, 2, num_nodes, operations, boundary=boundary)  # type: ignore[arg-type]
    whole = supernet(COCO17, COCO17.partition("1"), STEM, space, (64, 64), vector_dim=2)
    check(filled(weighted(whole, torch.Generator().manual_seed(num_nodes))))


def test_fabrics_over_a_named_backbone() -> None:
    check(filled(supernet(COCO17, COCO17.partition("1"), Backbone("resnet18"), SearchSpace.head(1, keep=1), (64, 64))))


def test_a_folded_net_has_the_precision_of_its_net() -> None:
    """The folding itself is float64, so that of a float32 net is the other's, rounded."""
    net = filled(tiny_supernet())
    single, double = folded(net).state_dict(), folded(net.double()).state_dict()
    assert {tensor.dtype for tensor in single.values()} == {torch.float32}
    assert all(torch.equal(single[name], tensor.float()) for name, tensor in double.items())


def weighted(architecture: Architecture, draw: torch.Generator, low: float = 0.1, high: float = 3.0) -> Architecture:
    """The same choices with other multipliers."""

    def other(weights: dict[str, float]) -> dict[str, float]:
        return {name: float(torch.empty(()).uniform_(low, high, generator=draw)) for name in weights}

    return architecture.with_genotypes(
        {
            fabric: Genotype(
                {
                    site: CellChoice(other(dict(cell.inputs)), tuple(other(dict(edge)) for edge in cell.edges))
                    for site, cell in genotype.cells.items()
                }
            )
            for fabric, (_, genotype) in architecture.fabrics().items()
        }
    )


@pytest.mark.parametrize("seed", range(2))
def test_multipliers_of_any_sign(seed: int) -> None:
    """No search finds negative ones, but an architecture file may hold them; they do not commute with ReLU."""
    check(filled(weighted(tiny_supernet(num_nodes=2), torch.Generator().manual_seed(seed), -2.0, 1.0)))


def test_a_tiny_multiplier_does_not_blow_the_others_up() -> None:
    whole = tiny_supernet()
    cell = CellChoice({"same": 1e-30, "coarser": 1.0}, ({"skip_connect": 1e-30, "dil_conv_3x3": 1.0},))
    cells = {**whole.genotypes["all"].cells, "layer5_stride4": cell}
    net = filled(whole.with_genotypes({"all": Genotype(cells), "backbone": everything(whole.backbone.space)}))  # type: ignore[arg-type]
    result = check(net)
    assert [module.factor for module in result.modules() if isinstance(module, Scale)] == [1e-30, 1e-30]
    assert max(float(p.abs().max()) for p in result.parameters()) < 100


def test_what_has_no_weight_is_gone() -> None:
    whole = tiny_supernet()
    cell = CellChoice({"same": 0.0, "finer": 0.0, "coarser": 2.0}, ({"skip_connect": 0.0, "sep_conv_3x3": 1.5},))
    cells = {**whole.genotypes["all"].cells, "layer5_stride4": cell}
    dense = whole.with_genotypes({"all": Genotype(cells), "backbone": everything(whole.backbone.space)})  # type: ignore[arg-type]
    lean = without_zeros(dense)
    assert "layer4_stride4" in dense.genotypes["all"].cells
    assert "layer4_stride4" not in lean.genotypes["all"].cells
    assert lean.genotypes["all"].cells["layer5_stride4"] == CellChoice({"coarser": 2.0}, ({"sep_conv_3x3": 1.5},))
    net = filled(dense)
    with torch.no_grad():
        torch.testing.assert_close(folded(net)(images()), net(images()), rtol=1e-5, atol=1e-5)
    assert module_macs(folded(net), images())[""] <= count(lean).macs < count(dense).macs


def test_mixes_with_a_skip_and_mixes_of_convolutions_need_no_scale() -> None:
    """One node: the gain takes the skip, convolutions take their own multipliers, norms of pools theirs."""
    result = check(filled(weighted(tiny_supernet("5"), torch.Generator().manual_seed(0), 0.5, 2.0)))
    assert not [module for module in result.modules() if isinstance(module, Scale)]
    head = [module for module in result.parts.modules() if isinstance(module, ChannelAffine)]
    assert not head


def test_a_mixture_of_logits_is_folded_as_it_stands() -> None:
    whole = tiny_supernet(num_nodes=2)
    net = PoseNet(whole, softmax_mixings(whole)).eval()
    fill(net, 5)
    check(net)


def test_the_given_net_is_left_alone_and_no_random_number_is_drawn() -> None:
    net = filled(tiny_supernet())
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(0)
    folded(net)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), drawn)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(("partition", "activation"), [("3", "squash"), ("1", "linear"), ("1", "sigmoid")])
def test_export(partition: str, activation: str) -> None:
    whole = replace(tiny_supernet(partition), activation=activation, vector_dim=1)
    result = folded(filled(whole))
    program = torch.export.export(result, (images(),))
    names = {str(node.target) for node in program.graph.nodes}
    assert not [name for name in names if "batch_norm" in name]
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images()), result(images()))


@pytest.mark.parametrize("name", BACKBONES)
def test_every_norm_of_a_named_backbone_is_folded(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(Backbone(name), STRIDES[-1]).eval()
    fill(backbone.to_empty(device="cpu"), 1)
    with torch.no_grad():
        expected = backbone(images())
        fold_norms(backbone, norm_pairs(backbone, images()))
        found = backbone(images())
    assert not [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for stride, maps in expected.items():
        torch.testing.assert_close(found[stride], maps, rtol=1e-4, atol=1e-5 * float(maps.abs().max()))


class TwoReaders(nn.Module):
    """A convolution, a norm, a second reader of the convolution in `also`, and a norm that reads no convolution."""

    def __init__(self, also: str) -> None:
        super().__init__()
        self.also = also
        self.convolution, self.norm, self.last = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        between = self.convolution(maps)
        beside = {"nothing": maps, "output": between, "sum": maps + between if self.also == "sum" else maps}[self.also]
        twice = self.convolution(maps) if self.also == "again" else maps
        return self.last(self.norm(between)), beside, twice


def test_a_norm_is_folded_only_where_nobody_else_reads_the_convolution() -> None:
    assert norm_pairs(TwoReaders("nothing").eval(), images()) == {"convolution": "norm"}
    assert norm_pairs(TwoReaders("output").eval(), images()) == {}
    assert norm_pairs(TwoReaders("sum").eval(), images()) == {}
