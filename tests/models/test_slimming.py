"""Widths: a supernet certain of its widths computes what the narrower net computes with its leading channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_architecture import tiny_supernet
from torch import Tensor, nn

from posefabric import documents
from posefabric.architecture import Architecture, supernet
from posefabric.backbone import Backbone
from posefabric.errors import UserError
from posefabric.models.fabric import build_operation
from posefabric.models.folding import folded
from posefabric.models.net import PoseNet, gumbel_mixings, mixture, softmax_mixings
from posefabric.models.operations import OPERATIONS
from posefabric.models.slimming import WidthMasks, slimmed
from posefabric.predictor import inherit
from posefabric.settings import SearchSettings
from posefabric.skeletons import COCO17
from posefabric.space import SearchSpace
from posefabric.strategies.derive import derive

WIDTHS = (0.5, 0.75, 1.0)

KEEP_ALL = SearchSettings(derive="threshold", threshold=0.0)


def named_supernet() -> Architecture:
    """Features of 24 channels at stride 4, like the widest of the parts: a lateral that is always a convolution."""
    space = SearchSpace(6, 4, 6, base_channels=6, width_multipliers=WIDTHS)
    return supernet(COCO17, COCO17.partition("1"), Backbone("mobilenetv2_100"), space, (64, 64), vector_dim=2)


WHOLES = {
    "fabric": tiny_supernet("3", width_multipliers=WIDTHS),
    "two nodes": tiny_supernet("1", num_nodes=2, share_operations=False, width_multipliers=(0.3, 1.2)),
    "named backbone": named_supernet(),
}


def searched(whole: Architecture, seed: int) -> PoseNet:
    """A float64 supernet with random weights and logits, each of its widths decided at random."""
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = PoseNet(whole, softmax_mixings(whole)).double()
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=draw)
        elif name.startswith("mixing.") or name.endswith("running_mean"):
            tensor.normal_(generator=draw)
    for mixing in net.mixing.values():
        for logits in mixing.width.values():  # type: ignore[union-attr]
            chosen = int(torch.randint(len(logits), (), generator=draw))
            logits.data = torch.where(torch.arange(len(logits)) == chosen, 0.0, -1e4).double()
    return net


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", WHOLES)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_certain_widths_compute_what_the_narrower_net_computes(name: str, seed: int) -> None:
    net = searched(WHOLES[name], seed)
    derived = PoseNet(derive(mixture(net), "threshold", KEEP_ALL)).double()
    inherit(derived, net.state_dict())
    for train in (False, True):
        net.train(train)
        derived.train(train)
        torch.testing.assert_close(derived(images()), net(images()), rtol=1e-9, atol=1e-12)
    ours, theirs = net.state_dict(), derived.state_dict()
    assert sum(tensor.numel() for tensor in theirs.values()) < sum(tensor.numel() for tensor in ours.values())
    for key, tensor in theirs.items():  # running statistics too
        leading = ours[key][tuple(slice(size) for size in tensor.shape)]
        torch.testing.assert_close(tensor, leading, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_masked_operation_is_the_narrower_one(name: str) -> None:
    whole, narrow = build_operation(name, 6).double().train(), build_operation(name, 4).double().train()
    for (_, wide), (key, tensor) in zip(whole.state_dict().items(), narrow.state_dict().items(), strict=True):
        tensor.copy_(wide[tuple(slice(size) for size in tensor.shape)])
        assert key in whole.state_dict()
    mask = (torch.arange(6) < 4).double()[:, None, None]
    maps = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    result = slimmed(whole, maps * mask, mask)
    torch.testing.assert_close(result[:, :4], narrow(maps[:, :4]))
    assert not result[:, 4:].any()


def test_a_mask_is_at_each_channel_the_share_of_the_widths_that_hold_it() -> None:
    masks = WidthMasks(SearchSpace.head(1), {4: 4})({})
    assert masks == {}
    space = replace(SearchSpace.head(1), width_multipliers=WIDTHS)
    mask = WidthMasks(space, {4: 4})({4: (0.5, 0.3, 0.2)})[4]
    torch.testing.assert_close(mask.flatten(), torch.tensor([1.0, 1.0, 0.5, 0.2]))


@pytest.mark.parametrize("name", WHOLES)
def test_gradients_reach_every_width(name: str) -> None:
    net = PoseNet(WHOLES[name], softmax_mixings(WHOLES[name])).train()
    net(images().float()).square().mean().backward()
    logits = [p for key, p in net.named_parameters() if ".width." in key]
    strides = {fabric: len(shares) for fabric, shares in WHOLES[name].width_shares.items()}
    assert len(logits) == sum(strides.values())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in logits)
    assert {id(p) for p in logits} < {id(p) for p in net.architecture_parameters()}


@pytest.mark.parametrize("name", WHOLES)
@torch.no_grad()
def test_a_mixture_of_widths_as_data_computes_what_the_logits_compute(name: str) -> None:
    torch.manual_seed(0)
    net = PoseNet(WHOLES[name], softmax_mixings(WHOLES[name])).eval()
    plain = PoseNet(WHOLES[name]).eval()
    inherit(plain, net.state_dict())
    torch.testing.assert_close(plain(images().float()), net(images().float()))
    for logits in net.architecture_parameters():
        nn.init.normal_(logits)
    found = mixture(net)
    written = documents.to_json(found)
    assert documents.from_json(Architecture, written, code="bad-architecture", where="") == found
    dense = PoseNet(found).eval()
    inherit(dense, net.state_dict())
    torch.testing.assert_close(dense(images().float()), net(images().float()), rtol=1e-5, atol=1e-6)


def test_open_widths_are_not_folded() -> None:
    with pytest.raises(UserError, match="width_shares leaves widths open") as caught:
        folded(PoseNet(WHOLES["two nodes"]))
    assert caught.value.code == "bad-architecture"
    narrow = PoseNet(WHOLES["two nodes"].with_widths({"all": {4: 2}})).eval()
    torch.testing.assert_close(folded(narrow)(images().float()), narrow(images().float()), rtol=1e-4, atol=1e-5)


def test_one_width_leaves_no_trace() -> None:
    whole = tiny_supernet()
    net = PoseNet(whole, softmax_mixings(whole))
    assert not any("width" in key or "mask" in key or "held" in key for key in net.state_dict())
    assert mixture(net).width_shares == {}
    assert whole.width_shares == {}
    assert tiny_supernet(width_multipliers=(0.5,)).widths["all"] == (2, 4, 8, 16)


def test_a_hard_draw_has_one_width_per_scale() -> None:
    mixings = gumbel_mixings(WHOLES["fabric"], hard=True)
    seen = set()
    for seed in range(20):
        mixing = mixings["head"]
        mixing.draw(np.random.default_rng(seed), 1.0)  # type: ignore[operator]
        shares = mixing.width_shares()
        assert all(sorted(share.tolist()) == [0.0, 0.0, 1.0] for share in shares.values())
        seen.add(tuple(shares[4].tolist()))
    assert len(seen) == len(WIDTHS)
    mixings["head"].forget()  # type: ignore[operator]
    torch.testing.assert_close(mixings["head"].width_shares()[4], torch.full((3,), 1 / 3))


def test_a_wider_net_is_refused_or_keeps_what_it_drew() -> None:
    torch.manual_seed(0)
    whole = WHOLES["named backbone"].with_widths({})
    state = PoseNet(whole).state_dict()
    net = PoseNet(replace(whole, widths={"all": (26, 48, 97, 192)}))
    drawn = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(UserError, match=r"has the shape") as caught:
        inherit(net, state)
    assert caught.value.code == "bad-weights"
    widened = inherit(net, state, widen=True)
    assert set(widened) == {key for key, tensor in state.items() if tensor.shape != drawn[key].shape}
    for key, tensor in net.state_dict().items():
        leading = tuple(slice(size) for size in state[key].shape)
        assert torch.equal(tensor[leading], state[key])
        rest = torch.ones_like(tensor, dtype=torch.bool)
        rest[leading] = False
        assert torch.equal(tensor[rest], drawn[key][rest])


def test_a_lateral_that_widening_makes_necessary_passes_on_what_it_reads() -> None:
    whole = tiny_supernet()  # as wide as its backbone: no laterals
    net = PoseNet(replace(whole, widths={"all": (5, 8, 16, 32)}))
    inherit(net, PoseNet(whole).state_dict(), widen=True)
    lateral = net.parts["all"].laterals["4"]
    maps = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(lateral(maps), torch.cat([maps, torch.zeros(1, 1, 3, 3)], dim=1))
    with pytest.raises(UserError, match=r"no tensor parts.all.laterals"):
        inherit(net, PoseNet(whole).state_dict())


def test_what_is_no_width_never_fits() -> None:
    whole = tiny_supernet()
    fewer = replace(whole, vector_dim=4)
    with pytest.raises(UserError, match=r"to_vectors.weight has the shape"):
        inherit(PoseNet(fewer), PoseNet(whole).state_dict(), widen=True)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"arm": {4: (0.5, 0.5, 0.0)}}, "width_shares.arm is no fabric"),
        ({"all": {5: (0.5, 0.5, 0.0)}}, "width_shares.all.5 is no stride"),
        ({"all": {4: (0.5, 0.5)}}, r"width_shares.all.4 is \(0.5, 0.5\)"),
        ({"all": {4: (2.0, 0.5, 0.0)}}, r"width_shares.all.4 is"),
    ],
)
def test_shares_that_fit_no_space_are_refused(shares: dict[str, dict[int, tuple[float, ...]]], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        replace(tiny_supernet(width_multipliers=WIDTHS), width_shares=shares)
    assert caught.value.code == "bad-architecture"


@pytest.mark.parametrize("multipliers", [(), (0.0, 1.0), (1.0, 0.5), (1.0, 1.0)])
def test_multipliers_ascend(multipliers: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="width_multipliers are") as caught:
        replace(SearchSpace.head(1), width_multipliers=multipliers)
    assert caught.value.code == "bad-space"


def test_partial_channels_have_one_width() -> None:
    with pytest.raises(UserError, match="partial_channels is 2 with several width_multipliers") as caught:
        replace(SearchSpace.head(4), width_multipliers=WIDTHS, partial_channels=2)
    assert caught.value.code == "bad-space"
