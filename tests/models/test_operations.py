"""Every operation of the table, by itself: an entry more is tested as soon as it stands there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from posefabric.errors import UserError
from posefabric.models.cost import module_macs
from posefabric.models.fabric import build_operation
from posefabric.models.operations import OPERATIONS
from posefabric.space import BACKBONE_OPERATIONS, ZERO

C, H, W = 6, 9, 7
every_operation = pytest.mark.parametrize("name", OPERATIONS)

MACS = {
    "skip_connect": 0,
    "sep_conv_3x3": 2 * (9 * C + C * C) * H * W,
    "dil_conv_3x3": (9 * C + C * C) * H * W,
    "avg_pool_3x3": 0,
    "max_pool_3x3": 0,
}


@every_operation
def test_the_shape_is_kept(name: str) -> None:
    maps = torch.randn(2, C, H, W)
    assert build_operation(name, C)(maps).shape == maps.shape


@every_operation
def test_the_gradient_reaches_input_and_parameters(name: str) -> None:
    operation = build_operation(name, C).eval()
    maps = torch.randn(2, C, H, W, requires_grad=True)
    operation(maps).square().sum().backward()
    assert maps.grad is not None
    assert maps.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in operation.parameters())


@every_operation
def test_norms_have_no_affine_parameters(name: str) -> None:
    norms = [module for module in build_operation(name, C).modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.weight is None and norm.bias is None for norm in norms)
    assert norms or name == "skip_connect"


@every_operation
def test_macs_are_those_of_its_convolutions(name: str) -> None:
    operation = build_operation(name, C)
    convolutions = [module for module in operation.modules() if isinstance(module, nn.Conv2d)]
    # Every operation keeps the size, so each convolution multiplies all its weights at every pixel.
    assert module_macs(operation, torch.randn(1, C, H, W)).get("", 0) == H * W * sum(
        convolution.weight.numel() for convolution in convolutions
    )


@pytest.mark.parametrize("name", MACS)
def test_macs_of_the_papers_operations_by_hand(name: str) -> None:
    assert module_macs(build_operation(name, C), torch.randn(1, C, H, W)).get("", 0) == MACS[name]


@pytest.mark.parametrize(("name", "reach"), [("sep_conv_3x3", 2), ("dil_conv_3x3", 2), ("max_pool_3x3", 1)])
def test_the_receptive_field(name: str, reach: int) -> None:
    """How many pixels away an output looks; the dilated convolution skips the ones between."""
    operation = build_operation(name, 1).eval()
    for parameter in operation.parameters():
        nn.init.ones_(parameter)
    maps = torch.rand(1, 1, 9, 9).add_(1).requires_grad_()
    if name == "max_pool_3x3":
        maps.data[0, 0, 5, 5] = 9
    operation(maps)[0, 0, 4, 4].backward()
    assert maps.grad is not None
    rows = maps.grad[0, 0].abs().sum(dim=1).nonzero().flatten() - 4
    assert int(rows.abs().max()) == reach
    if name == "dil_conv_3x3":
        assert rows.tolist() == [-2, 0, 2]


def test_the_space_knows_the_papers_candidates() -> None:
    assert {*BACKBONE_OPERATIONS} - {ZERO} == {*MACS}
    assert {*MACS} <= {*OPERATIONS}


@pytest.mark.parametrize(("given", "meant"), [("sep_3x3", "sep_conv_3x3"), ("skip_conect", "skip_connect")])
def test_an_unknown_operation_is_named_with_a_suggestion(given: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"unknown operation '{given}'; did you mean '{meant}'"):
        build_operation(given, C)
