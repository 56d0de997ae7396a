"""The seam between a backbone and its readers: declared strides and channels are those of the real maps."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from strategies_architecture import STRIDES

from posefabric.backbone import FABRIC, FABRIC_SPACES, Backbone, fabric_backbone
from posefabric.models import backbones
from posefabric.models.backbones import BACKBONES, build_backbone
from posefabric.models.mixing import FixedMixing
from posefabric.space import SearchSpace

INPUT_HW = (64, 96)


def check(channels: dict[int, int], maps: dict[int, torch.Tensor], coarsest: int) -> None:
    assert list(channels) == [stride for stride in STRIDES if stride <= coarsest]
    assert list(maps) == list(channels)
    for stride, found in maps.items():
        assert found.shape == (1, channels[stride], INPUT_HW[0] // stride, INPUT_HW[1] // stride)


@pytest.fixture(autouse=True)
def _never_pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def create_untrained(*args: Any, **keywords: Any) -> Any:
        assert not keywords.get("pretrained")
        return create(*args, **keywords)

    monkeypatch.setattr(backbones.timm, "create_model", create_untrained)


@pytest.mark.parametrize("coarsest", STRIDES)
@pytest.mark.parametrize("name", BACKBONES)
def test_declared_and_real_features_agree(name: str, coarsest: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(Backbone(name), coarsest).eval()
        check(backbone.channels, backbone(torch.empty(1, 3, *INPUT_HW)), coarsest)


@pytest.mark.parametrize("name", FABRIC_SPACES)
def test_declared_and_real_features_of_fabrics_agree(name: str) -> None:
    described = fabric_backbone(FABRIC_SPACES[name])
    assert described.genotype is not None
    with torch.device("meta"):
        backbone = build_backbone(described, 32).eval()
        check(backbone.channels, backbone(torch.empty(1, 3, *INPUT_HW), FixedMixing(described.genotype)()), 32)


@pytest.mark.parametrize("wanted", [(4,), (8,), (32,), (4, 16), (8, 32)])
def test_a_fabric_is_cut_to_the_outputs_that_are_read(wanted: tuple[int, ...]) -> None:
    described = fabric_backbone(SearchSpace.backbone(1, num_layers=6, keep=3)).pruned(wanted)
    assert described.name == FABRIC
    assert described.genotype is not None
    backbone = build_backbone(described, wanted[-1]).eval()
    maps = backbone(torch.randn(1, 3, *INPUT_HW), FixedMixing(described.genotype)())
    assert {stride: found.shape[1] for stride, found in maps.items()} == backbone.channels
    assert tuple(maps) == wanted


@pytest.mark.parametrize(
    ("name", "coarsest"),
    [(name, coarsest) for name in BACKBONES for coarsest in STRIDES if name != "hrnet_w32" or coarsest >= 16],
)
def test_no_parameter_is_left_unread(name: str, coarsest: int) -> None:
    """HRNet's third stage fuses three scales at once and is not cut above stride 16."""
    with torch.device("meta"):
        backbone = build_backbone(Backbone(name), coarsest).eval()
    backbone.to_empty(device="cpu")
    sum(found.sum() for found in backbone(torch.zeros(1, 3, 32, 32)).values()).backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []
