"""The one counter: the paper's rows to 1 %, and a count by hand."""

from __future__ import annotations

import pytest
import torch

from posefabric.architecture import supernet
from posefabric.backbone import Backbone
from posefabric.models.cost import count
from posefabric.models.net import PoseNet
from posefabric.recipes import recipe
from posefabric.skeletons import COCO17
from posefabric.space import SearchSpace

PAPER_ROWS = {
    "mpii_mobilenetv2_p1": (1.86, 0.61),
    "mpii_mobilenetv2_p3": (2.89, 1.16),
    "mpii_mobilenetv2_p5": (3.93, 1.72),
    "mpii_mobilenetv2_p8": (5.48, 2.56),
    "coco_ours1": (5.07, 4.03),
    "coco_ours2": (27.47, 10.56),
    "coco_ours3": (14.66, 15.83),
    "coco_ours3_published": (14.02, 14.28),
    "mpii_ours_a": (3.87, 4.59),
    "mpii_ours_b": (14.66, 9.38),
    "mpii_ours_c": (11.84, 8.35),
}


@pytest.mark.parametrize("name", PAPER_ROWS)
def test_paper_rows(name: str) -> None:
    millions, gibi_macs = PAPER_ROWS[name]
    cost = count(recipe(name).architecture())
    assert cost.parameters / 1e6 == pytest.approx(millions, rel=0.01)
    assert cost.macs / 2**30 == pytest.approx(gibi_macs, rel=0.01)


@pytest.mark.parametrize("name", ["mpii_mobilenetv2_p8", "mpii_fabric1", "coco_ours3_published"])
def test_every_parameter_is_read_by_a_forward_pass(name: str) -> None:
    architecture = recipe(name).architecture()
    net = PoseNet(architecture)
    net(torch.randn(2, 3, 64, 64)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_parts_and_backbone_add_up() -> None:
    cost = count(recipe("mpii_mobilenetv2_p8").architecture())
    assert cost.macs == cost.backbone_macs + sum(part.macs for part in cost.parts.values())
    assert cost.parameters == cost.backbone_parameters + sum(part.parameters for part in cost.parts.values())


def test_a_head_counted_by_hand() -> None:
    """One cell of C = 2 at stride 4: 8 channels, inputs from strides 4 (twice) and 8, D = 3."""
    space = SearchSpace(num_layers=6, first_layer=5, last_layer=6, base_channels=2)
    whole = supernet(COCO17, COCO17.partition("1"), Backbone("mobilenetv2_100"), space, (64, 64), vector_dim=3)
    pixels = 16 * 16
    laterals = 24 * 8 * pixels + 32 * 16 * pixels // 4
    up = 16 * 8 * pixels // 4
    separable = (9 * 8 + 8 * 8) * pixels
    cell = up + 3 * separable + 8 * 8 * pixels
    head = 8 * 17 * 3 * pixels
    (part,) = count(whole).parts.values()
    assert part.cells == {"layer5_stride4": cell}
    assert part.macs == laterals + cell + head
