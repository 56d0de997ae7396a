"""Expected MACs: the counter's own figure where every choice is certain, the mean of draws where cells are few."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from sizes import LONG
from strategies_architecture import Search, searches, tiny_supernet

from posefabric.architecture import Architecture, supernet
from posefabric.backbone import Backbone, fabric_backbone
from posefabric.genotype import CellChoice, Genotype
from posefabric.models.choices import choice_costs
from posefabric.models.cost import count
from posefabric.models.expected import ExpectedMacs
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.skeletons import COCO17
from posefabric.space import BACKBONE_OPERATIONS, SearchSpace
from posefabric.strategies.derive import strongest_widths

NAMED = supernet(
    COCO17, COCO17.partition("3"), Backbone("mobilenetv2_100"), SearchSpace.head(1, num_nodes=2), (64, 64), vector_dim=2
)
WIDTHS = (0.5, 0.75, 1.0)
WHOLES = {
    "fabric": tiny_supernet("1"),
    "widths": tiny_supernet("1", width_multipliers=WIDTHS),
    "widths of the backbone": supernet(
        COCO17,
        COCO17.partition("1"),
        fabric_backbone(SearchSpace(6, 0, 3, 2, width_multipliers=(0.3, 1.0))),
        SearchSpace.head(1),
        (64, 64),
    ),
    "widths of the parts": supernet(
        COCO17,
        COCO17.partition("3"),
        Backbone("mobilenetv2_100"),
        SearchSpace(6, 3, 6, 3, width_multipliers=WIDTHS),
        (64, 64),
        vector_dim=2,
    ),
    "every layer reads the features": supernet(
        COCO17,
        COCO17.partition("3"),
        fabric_backbone(SearchSpace(6, 0, 3, 1, 1, BACKBONE_OPERATIONS, entries="every")),
        SearchSpace(6, 2, 6, 1, share_operations=False, boundary="omit", entries="every"),
        (64, 64),
    ),
    "fabric, own alphas, two nodes": tiny_supernet("3", share_operations=False, num_nodes=2),
    "mobilenet": NAMED,
}


def undecided(whole: Architecture) -> PoseNet:
    with torch.device("meta"):
        net = PoseNet(whole)
    net.mixing = torch.nn.ModuleDict(softmax_mixings(whole))
    return net


def decide(net: PoseNet, draw: torch.Generator, *, zero: bool) -> None:
    """Every mixture certain of one choice, widths too: no other logit survives the softmax."""
    for parameter in net.architecture_parameters():
        first = 1 if parameter.ndim == 2 and not zero else 0  # the first operation is `zero`
        chosen = torch.randint(first, parameter.shape[-1], parameter.shape[:-1], generator=draw)
        one_hot = torch.nn.functional.one_hot(chosen, parameter.shape[-1])
        parameter.data = torch.where(one_hot.bool(), 0.0, -1e4)


def one_hot(net: PoseNet) -> Architecture | None:
    """What is left of a decided net; nothing where `zero` cuts every path."""
    found = mixture(net)
    fabrics = found.fabrics().items()
    kept = {
        name: Genotype(
            {site: CellChoice(_there(c.inputs), tuple(map(_there, c.edges))) for site, c in genotype.cells.items()}
        )
        for name, (_, genotype) in fabrics
    }
    try:
        return found.with_genotypes(kept).with_widths(strongest_widths(found))
    except ValueError:
        return None


def _there(weights: object) -> dict[str, float]:
    return {name: weight for name, weight in dict(weights).items() if weight > 0}  # type: ignore[call-overload]


SOME, MANY = (100, 500) if LONG else (20, 60)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "nets", "every"),
    [
        ("fabric", MANY, 25),
        ("every layer reads the features", MANY, 20),
        ("fabric, own alphas, two nodes", SOME, 20),
        ("mobilenet", SOME, 10),
        ("widths", MANY, 50),
        ("widths of the backbone", 40, 10),
        ("widths of the parts", 40, 10),
    ],
)
def test_certain_choices_cost_what_the_counter_counts(name: str, nets: int, every: int) -> None:
    """Drawn nets, `zero` among the choices of every other; of some the whole net is built and counted."""
    net, costs = undecided(WHOLES[name]), choice_costs(WHOLES[name])
    expected, draw, compared = ExpectedMacs(costs), torch.Generator().manual_seed(0), 0
    while compared < nets:
        decide(net, draw, zero=compared % 2 == 0)
        derived = one_hot(net)
        if derived is None:
            continue
        macs = expected(net).item()
        kept = {name: genotype for name, (_, genotype) in derived.fabrics().items()}
        assert macs == costs.at(found_widths(derived)).macs(kept)
        if compared % every == 0:
            assert macs == count(derived).macs
        compared += 1


def found_widths(derived: Architecture) -> dict[str, dict[int, int]]:
    return {name: derived.channels(name) for name in derived.fabrics()} if derived.several_widths else {}


@pytest.mark.parametrize("name", WHOLES)
def test_the_table_of_choices_sums_to_the_whole_net(name: str) -> None:
    assert choice_costs(WHOLES[name]).whole == count(WHOLES[name]).macs


@settings(max_examples=5, deadline=None)
@given(searches())
def test_the_table_holds_for_whatever_is_kept(search: Search) -> None:
    (found,) = search.found
    genotypes = {name: genotype for name, (_, genotype) in found.fabrics().items()}
    assert choice_costs(search.whole).macs(genotypes) == count(found).macs


def test_a_net_cut_off_by_zero_costs_its_backbone_and_heads() -> None:
    whole = WHOLES["mobilenet"]
    net, costs = undecided(whole), choice_costs(whole)
    for parameter in net.architecture_parameters():
        parameter.data = torch.where(torch.arange(parameter.shape[-1]) == 0, 0.0, -1e4).expand(parameter.shape)
    assert ExpectedMacs(costs)(net).item() == costs.backbone[4] + sum(costs.heads.values())


def test_one_mixed_cell_costs_the_mean_of_its_draws() -> None:
    """A head of one cell: no two chances depend on each other, so the expectation is exact."""
    space = SearchSpace(num_layers=6, first_layer=5, last_layer=6, base_channels=2, strides=(4, 8))
    whole = supernet(COCO17, COCO17.partition("1"), Backbone("mobilenetv2_100"), space, (64, 64), vector_dim=3)
    net, costs = undecided(whole), choice_costs(whole)
    for parameter in net.architecture_parameters():
        torch.nn.init.normal_(parameter)
    (beta,) = (torch.softmax(p.double(), 0).tolist() for p in net.architecture_parameters() if p.ndim == 1)
    (alpha,) = (torch.softmax(p[0].double(), 0).tolist() for p in net.architecture_parameters() if p.ndim == 2)
    mean = 0.0
    for source, chance in zip(space.sites()[0].sources, beta, strict=True):
        for operation, share in zip(space.operations, alpha, strict=True):
            cell = CellChoice({source.slot: 1.0}, ({} if operation == "zero" else {operation: 1.0},))
            cut = costs.backbone[4] + sum(costs.heads.values())
            kept = {"all": Genotype({"layer5_stride4": cell})}
            mean += chance * share * (cut if operation == "zero" else costs.macs(kept))
    assert ExpectedMacs(costs)(net).item() == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("name", ["fabric, own alphas, two nodes", "widths of the parts"])
def test_what_is_expected_of_parts_and_backbone_is_what_the_counter_counts_of_them(name: str) -> None:
    net, draw = undecided(WHOLES[name]), torch.Generator().manual_seed(3)
    decide(net, draw, zero=False)
    parts, backbone = ExpectedMacs(choice_costs(WHOLES[name])).by_part(net)
    derived = one_hot(net)
    assert derived is not None
    cost = count(derived)
    assert (parts.tolist(), backbone.item()) == ([part.macs for part in cost.parts.values()], cost.backbone_macs)


@pytest.mark.parametrize("name", WHOLES)
def test_every_logit_has_the_slope_that_differences_show(name: str) -> None:
    net = undecided(WHOLES[name])
    expected = ExpectedMacs(choice_costs(WHOLES[name]))
    draw = torch.Generator().manual_seed(1)
    for parameter in net.architecture_parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    net.zero_grad()
    expected(net).backward()
    for parameter in list(net.architecture_parameters())[:: len(WHOLES)]:
        direction = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                parameter += sign * 1e-5 * direction
                ends.append(expected(net).item())
                parameter -= sign * 1e-5 * direction
        assert parameter.grad is not None
        slope = (parameter.grad * direction).sum().item()
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slope, rel=1e-4, abs=1.0)
