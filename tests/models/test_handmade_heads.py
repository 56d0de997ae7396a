"""Hand-made heads: published nets to the last parameter, maps of the right size, everything read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from posefabric.backbone import FABRIC_SPACES, Backbone, fabric_backbone
from posefabric.handmade import HEADS as KINDS
from posefabric.handmade import HandMade
from posefabric.models.cost import count
from posefabric.models.handmade import HEADS, Bottleneck, PreActivation
from posefabric.models.net import HandMadeNet, build
from posefabric.skeletons import COCO17, MPII16, Skeleton

BACKBONES = (Backbone("mobilenetv2_100"), Backbone("resnet18"), fabric_backbone(FABRIC_SPACES["fabric2"]))


def plain(head: str, skeleton: Skeleton, name: str, input_hw: tuple[int, int], parts: str = "1") -> HandMade:
    """A published net with plain heatmaps."""
    return HandMade.published(head, skeleton, Backbone(name), input_hw, parts=parts, vector_dim=1, activation="linear")


def slim(head: str, backbone: Backbone = BACKBONES[0]) -> HandMade:
    """A narrow net of all parts."""
    whole = HandMade.published(head, COCO17, backbone, (64, 96), parts="3", vector_dim=4)
    narrow = {part: tuple(4 + i for i, _ in enumerate(widths)) for part, widths in whole.widths.items()}
    return replace(whole, widths=narrow)


def test_every_kind_can_be_built() -> None:
    assert set(HEADS) == set(KINDS)


def test_simple_baseline_is_the_published_net() -> None:
    """Xiao et al. 2018, ResNet-50 at 256 x 192: 34.0 M. A transposed convolution multiplies once per input pixel."""
    resnet = 23_508_032
    upward = 16 * (2048 * 256 + 2 * 256 * 256) + 3 * 2 * 256
    cost = count(plain("deconvolution", COCO17, "resnet50", (256, 192)))
    assert cost.parameters == resnet + upward + 256 * 17 + 17 == 33_999_697
    pixels = 8 * 6
    products = 16 * pixels * (2048 * 256 + 4 * 256 * 256 + 16 * 256 * 256) + 64 * pixels * 256 * 17
    assert cost.macs - cost.backbone_macs == products
    assert cost.macs == 5_426_380_800


def test_hrnet_is_the_published_net() -> None:
    """Sun et al. 2019, W32 at 256 x 192: 28.5 M and 7.10 (GiMAC) as printed."""
    cost = count(plain("hrnet_stage4", COCO17, "hrnet_w32", (256, 192)))
    assert cost.parameters == 28_536_113
    assert round(cost.macs / 2**30, 1) == 7.1


@pytest.mark.parametrize(("parts", "width", "millions", "gibi_macs"), [("3", 400, 12.8, 23.7), ("5", 296, 12.6, 22.8)])
def test_part_branches_cost_what_the_paper_prints(parts: str, width: int, millions: float, gibi_macs: float) -> None:
    """PNFS table VI, Baseline-1 and Baseline-2: branches of 8 blocks on HRNet's stem to stage 3, 256 x 256."""
    whole = plain("residual", MPII16, "hrnet_w32", (256, 256), parts)
    cost = count(replace(whole, widths=dict.fromkeys(whole.partition, (width, *(width // 4,) * 8))))
    assert round(cost.parameters / 1e6, 1) == millions
    assert round(cost.macs / 2**30, 1) == gibi_macs


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: backbone.name)
@pytest.mark.parametrize("head", KINDS)
def test_heatmaps_have_their_size_and_every_weight_of_the_heads_learns(head: str, backbone: Backbone) -> None:
    described = slim(head, backbone)
    net = build(described)
    heatmaps = net(torch.randn(2, 3, *described.input_hw))
    assert heatmaps.shape == (2, 17, *described.heatmap_hw)
    heatmaps.sum().backward()
    assert [name for name, p in net.parts.named_parameters() if p.grad is None] == []
    assert {id(p) for p in net.weights()} == {id(p) for p in net.parameters()}


@pytest.mark.parametrize("head", KINDS)
def test_the_whole_cost_is_that_of_backbone_and_parts(head: str) -> None:
    described = slim(head)
    cost = count(described)
    assert cost.macs == cost.backbone_macs + sum(part.macs for part in cost.parts.values())
    assert cost.parameters == sum(p.numel() for p in HandMadeNet(described).parameters())
    assert not any(part.cells for part in cost.parts.values())


@pytest.mark.parametrize("block", [PreActivation(6, 3), Bottleneck(6, 3)])
def test_a_block_whose_last_layer_gives_nothing_is_the_identity(block: nn.Module) -> None:
    """On maps that are positive, as behind a ReLU."""
    block.eval()
    last = [module for module in block.modules() if isinstance(module, nn.Conv2d)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    maps = torch.rand(2, 6, 5, 4)
    torch.testing.assert_close(block(maps), maps)


def test_an_hourglass_sees_the_whole_crop_and_a_branch_its_surroundings() -> None:
    """The gradient at one corner of the crop with respect to the features at the other."""
    for head, far in (("hourglass", True), ("residual", False)):
        body = HEADS[head]({4: 5}, (4, 4, 4, 4, 4)).eval()
        features = torch.randn(1, 5, 32, 32, requires_grad=True)
        body({4: features})[..., :2, :2].square().sum().backward()
        assert features.grad is not None
        assert bool((features.grad[..., -4:, -4:] != 0).any()) is far
