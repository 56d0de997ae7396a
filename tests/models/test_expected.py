"""Expected MACs: the counter's own figure where every choice is certain, the mean of draws where cells are few."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_architecture import searches, tiny_supernet

from posefabric.architecture import Architecture, Backbone, supernet
from posefabric.genotype import CellChoice, Genotype
from posefabric.models.choices import choice_costs
from posefabric.models.cost import count
from posefabric.models.expected import ExpectedMacs
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.skeletons import COCO17
from posefabric.space import SearchSpace

NAMED = supernet(
    COCO17, COCO17.partition("3"), Backbone("mobilenetv2_100"), SearchSpace.head(1, num_nodes=2), (64, 64), vector_dim=2
)
WHOLES = {
    "fabric": tiny_supernet("1"),
    "fabric, own alphas, two nodes": tiny_supernet("3", share_operations=False, num_nodes=2),
    "mobilenet": NAMED,
}


def undecided(whole: Architecture) -> PoseNet:
    with torch.device("meta"):
        net = PoseNet(whole)
    net.mixing = torch.nn.ModuleDict(softmax_mixings(whole))
    return net


def decide(net: PoseNet, draw: torch.Generator, *, zero: bool) -> None:
    """Every mixture certain of one choice: no other logit survives the softmax."""
    for parameter in net.architecture_parameters():
        first = 1 if parameter.ndim == 2 and not zero else 0  # the first operation is `zero`
        chosen = torch.randint(first, parameter.shape[-1], parameter.shape[:-1], generator=draw)
        one_hot = torch.nn.functional.one_hot(chosen, parameter.shape[-1])
        parameter.data = torch.where(one_hot.bool(), 0.0, -1e4)


def one_hot(net: PoseNet) -> Architecture | None:
    """What is left of a decided net; nothing where `zero` cuts every path."""
    fabrics = mixture(net).fabrics().items()
    kept = {
        name: Genotype(
            {site: CellChoice(_there(c.inputs), tuple(map(_there, c.edges))) for site, c in genotype.cells.items()}
        )
        for name, (_, genotype) in fabrics
    }
    try:
        return net.architecture.with_genotypes(kept)
    except ValueError:
        return None


def _there(weights: object) -> dict[str, float]:
    return {name: weight for name, weight in dict(weights).items() if weight > 0}  # type: ignore[call-overload]


@pytest.mark.parametrize("name", WHOLES)
def test_x(name):
    net = undecided(WHOLES[name]); costs = choice_costs(WHOLES[name]); expected = ExpectedMacs(costs)
    draw = torch.Generator().manual_seed(0)
    a=b=c=0; n=0; valid=0
    for i in range(60):
        decide(net, draw, zero=i % 3 == 0)
        t=time.time(); f=one_hot(net); a+=time.time()-t
        if f is None: continue
        valid+=1
        t=time.time(); e=float(expected(net)); b+=time.time()-t
        t=time.time(); k=count(f).macs; c+=time.time()-t
        assert e==k, (e,k)
        assert costs.macs({n: g for n,(_,g) in f.fabrics().items()})==k
    print(name, valid, a,b,c, costs.whole, count(WHOLES[name]).macs)
