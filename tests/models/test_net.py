"""One builder for every net: a derived net computes what its supernet computes, and gradients reach everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from strategies_architecture import PARTITIONS, STRIDES, Search, searches, tiny_supernet
from torch import Tensor, nn

from posefabric.architecture import Architecture, supernet
from posefabric.backbone import Backbone, fabric_backbone
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype, everything
from posefabric.models.mixing import FixedMixing, Mixing, as_genotype
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.predictor import inherit
from posefabric.skeletons import COCO17, Skeleton
from posefabric.space import SearchSpace, Site

every_partition = pytest.mark.parametrize(
    ("skeleton", "name"), PARTITIONS, ids=[f"{skeleton.name}-{name}" for skeleton, name in PARTITIONS]
)


def fill(net: nn.Module, seed: int) -> None:
    """Random weights that keep maps near unit size, and random running statistics: nothing stays at its default."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=draw)
        elif tensor.dim() == 4:
            tensor.normal_(0, (1.5 / tensor[0].numel()) ** 0.5, generator=draw)
        elif tensor.is_floating_point():
            tensor.normal_(0.3, 0.3, generator=draw)


def open_up(net: nn.Module) -> None:
    """Make every convolution an average and every map positive, so that no ReLU is shut."""
    for name, tensor in net.state_dict().items():
        if tensor.dim() == 4:
            tensor.abs_().div_(tensor.sum(dim=(1, 2, 3), keepdim=True))
        elif name.endswith("running_mean"):
            tensor.zero_()
        elif tensor.is_floating_point() and not name.startswith("mixing."):
            tensor.abs_()


def images(batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def with_zeros(whole: Genotype, kept: Genotype) -> Genotype:
    """Every choice of the whole: with its weight where it was kept, with weight 0 where it was dropped."""
    nothing = CellChoice({}, ())
    cells = {}
    for name, choice in whole.cells.items():
        found = kept.cells.get(name, nothing)
        edges = found.edges or tuple({} for _ in choice.edges)
        cells[name] = CellChoice(
            inputs={slot: found.inputs.get(slot, 0.0) for slot in choice.inputs},
            edges=tuple(
                {operation: edge.get(operation, 0.0) for operation in candidates}
                for candidates, edge in zip(choice.edges, edges, strict=True)
            ),
        )
    return Genotype(cells)


@pytest.fixture
def _uninitialised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions skip their own initialisation: whoever asks for this fills the weights."""
    monkeypatch.setattr(nn.Conv2d, "reset_parameters", lambda convolution: None)


@pytest.mark.usefixtures("_uninitialised")
@settings(max_examples=67, deadline=None, suppress_health_check=list(HealthCheck))
@given(searches(count=3))
def test_supernet_and_derived_net_agree_where_only_zeros_were_dropped(search: Search) -> None:
    """Three genotypes for each of 67 supernets; in float64, so that only the order of sums may differ."""
    net = PoseNet(search.whole).eval()
    fill(net, seed=len(search.whole.partition))
    net = net.double()
    for architecture in search.found:
        for name, (_, kept) in architecture.fabrics().items():
            net.mixing[name] = FixedMixing(with_zeros(search.whole.fabrics()[name][1], kept))
        derived = PoseNet(architecture).eval().double()
        assert derived.state_dict().keys() <= net.state_dict().keys()
        inherit(derived, net.state_dict())
        with torch.no_grad():
            expected = net(images().double())
            torch.testing.assert_close(derived(images().double()), expected, rtol=1e-6, atol=1e-6)
        assert expected.shape[1] == search.whole.skeleton.num_keypoints


def test_the_comparison_notices_a_choice_that_was_not_zero() -> None:
    whole = replace(tiny_supernet("8"), activation="linear", vector_dim=1)
    kept = whole.genotypes["thigh"].cells["layer4_stride8"]
    lighter = CellChoice({**kept.inputs, "coarser": 0.5}, kept.edges)
    cells = {**whole.genotypes["thigh"].cells, "layer4_stride8": lighter}
    changed = whole.with_genotypes({**whole.genotypes, "backbone": whole.backbone.genotype, "thigh": Genotype(cells)})
    net, other = PoseNet(whole).eval(), PoseNet(changed).eval()
    fill(net, seed=0)
    open_up(net)
    inherit(other, net.state_dict())
    with torch.no_grad():
        maps, others = net(images().abs()), other(images().abs())
    difference = ((maps - others).abs() / maps.abs()).amax(dim=(0, 2, 3))
    thigh = [COCO17.index(name) for name in whole.partition["thigh"]]
    assert difference[thigh].min() > 1e-4
    assert difference[[k for k in range(17) if k not in thigh]].max() == 0


@pytest.mark.parametrize("kept", STRIDES[1:3])
def test_a_net_that_reads_one_coarse_feature_only(kept: int) -> None:
    """The backbone's finest output is pruned away then; its stem still feeds the lattice."""
    whole = tiny_supernet()
    edges = everything(whole.space).cells["layer3_stride4"].edges
    slot = "same" if kept == 8 else "coarser"
    path = {
        "layer3_stride8": CellChoice({slot: 1.0}, edges),
        "layer4_stride8": CellChoice({"same": 1.0}, edges),
        "layer5_stride4": CellChoice({"coarser": 1.0}, edges),
    }
    derived = whole.with_genotypes({"all": Genotype(path), "backbone": whole.backbone.genotype})
    net = PoseNet(derived).eval()
    assert list(net.backbone.channels) == [kept]
    assert net(images()).shape == (1, 17, 16, 16)


def is_one_map(site: Site) -> bool:
    """All slots read the same map unchanged (the finest cell over a stem): its betas cannot matter."""
    return {(source.origin, source.stride) for source in site.sources} == {(site.sources[0].origin, site.stride)}


@pytest.mark.parametrize("share_operations", [True, False], ids=["shared", "per-cell"])
@pytest.mark.parametrize("partition", COCO17.partitions)
def test_gradients_reach_every_weight_and_every_architecture_parameter(partition: str, share_operations: bool) -> None:
    whole = tiny_supernet(partition, share_operations=share_operations, num_nodes=2)
    net = PoseNet(whole, softmax_mixings(whole)).eval()
    fill(net, seed=1)
    open_up(net)
    net(images(2).abs()).square().mean().backward()
    unread = {
        f"mixing.{fabric}.beta.{site.name}"
        for fabric, (space, _) in whole.fabrics().items()
        for site in space.sites()
        if is_one_map(site)
    }
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    still = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().max() == 0}
    assert still - unread == set()
    assert {id(p) for p in net.weights()} | {id(p) for p in net.architecture_parameters()} == {
        id(p) for p in net.parameters()
    }
    names = [name for name, _ in net.named_parameters() if name.startswith("mixing.")]
    assert len(names) == len(list(net.architecture_parameters()))


@every_partition
def test_zero_logits_are_the_equal_mixture(skeleton: Skeleton, name: str) -> None:
    space = SearchSpace.head(1)
    backbone = fabric_backbone(SearchSpace.backbone(1, num_layers=6, keep=3))
    whole = supernet(skeleton, skeleton.partition(name), backbone, space, (64, 64))
    soft, fixed = PoseNet(whole, softmax_mixings(whole)).eval(), PoseNet(whole).eval()
    fill(fixed, seed=2)
    missing, unexpected = soft.load_state_dict(fixed.state_dict(), strict=False)
    assert unexpected == []
    assert all(key.startswith("mixing.") for key in missing)
    with torch.no_grad():
        torch.testing.assert_close(soft(images()), fixed(images()), rtol=1e-5, atol=1e-6)


def test_a_mixture_as_data_computes_what_the_logits_compute() -> None:
    whole = tiny_supernet("3", share_operations=False, num_nodes=2)
    soft = PoseNet(whole, softmax_mixings(whole)).eval()
    fill(soft, seed=3)
    dense = PoseNet(mixture(soft)).eval()
    inherit(dense, soft.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(dense(images()), soft(images()), rtol=1e-5, atol=1e-6)


def test_the_multipliers_of_a_mixture_are_scaled_by_their_number() -> None:
    whole = tiny_supernet()
    (mixing,) = (m for name, m in softmax_mixings(whole).items() if name == "all")
    with torch.no_grad():
        mixing.alpha["shared"][0, 2] = 1.0
        mixing.beta["layer5_stride4"][1] = -1.0
        cell = as_genotype(mixing()).cells["layer5_stride4"]
    e = torch.e
    assert cell.edges[0] == pytest.approx(
        {"skip_connect": 4 / (3 + e), "sep_conv_3x3": 4 * e / (3 + e), "dil_conv_3x3": 4 / (3 + e)}
    )
    share = 3 / (2 + 1 / e)
    assert cell.inputs == pytest.approx({"same": share, "finer": share / e, "coarser": share})


def test_a_mixing_must_say_where_its_weights_come_from() -> None:
    with pytest.raises(TypeError, match="Mixing must say"):
        Mixing()()


@pytest.mark.parametrize("part", ["upper limb", "a.b", "", "backbone", "training", "_modules", "keys", "forward"])
def test_a_part_name_that_modules_cannot_bear_is_refused(part: str) -> None:
    with pytest.raises(UserError, match=r"cannot be used|is no name for a part") as caught:
        PoseNet(named_part(part))
    assert caught.value.code == "bad-architecture"


def named_part(part: str) -> Architecture:
    backbone = fabric_backbone(SearchSpace.backbone(1, num_layers=6, keep=3))
    return supernet(COCO17, {part: COCO17.keypoints}, backbone, SearchSpace.head(1), (64, 64))


def test_an_unknown_backbone_is_named_with_a_suggestion() -> None:
    whole = supernet(COCO17, COCO17.partition("1"), Backbone("resnet5"), SearchSpace.head(1), (64, 64))
    with pytest.raises(UserError, match="unknown backbone 'resnet5'; did you mean 'resnet50'"):
        PoseNet(whole)


def test_inherit_names_the_first_tensor_that_does_not_fit() -> None:
    net = PoseNet(tiny_supernet())
    state = dict(net.state_dict())
    name = next(name for name in state if name.endswith("to_vectors.weight"))
    with pytest.raises(UserError, match=f"{name} has the shape"):
        inherit(net, {**state, name: torch.zeros(1)})
    del state[name]
    with pytest.raises(UserError, match=f"no tensor {name}"):
        inherit(net, state)
