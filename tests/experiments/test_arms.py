"""Arms as nets: what each kind changes, equal cost, and that what cannot be is told before anything runs."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import TINY

from posefabric.architecture import Architecture
from posefabric.errors import UserError
from posefabric.evaluation.agreement import random_mixture
from posefabric.experiments.arms import Nets, derangement, search_config, train_config
from posefabric.experiments.bench import inherited_score
from posefabric.experiments.spec import Spec
from posefabric.handmade import HandMade
from posefabric.models.cost import count
from posefabric.settings import SearchSettings
from posefabric.skeletons import COCO17
from posefabric.strategies.derive import derive

ARMS = {
    "A": {"kind": "searched"},
    "B": {"kind": "shared"},
    "C": {"kind": "permuted"},
    "D": {"kind": "random", "draws": 4, "ranked_by": "A"},
    "E": {"kind": "uniform"},
    "F": {"kind": "whole_body"},
    "G": {"kind": "random_groups"},
    "H": {"kind": "handmade", "head": "residual"},
    "J1": {"kind": "head", "vector_dim": 1, "activation": "sigmoid"},
    "J2": {"kind": "head", "fusion": "mean"},
}
BUDGET = 16_000_000


def nets(**changes: Any) -> Nets:
    base = {"recipe": "smoke", "data": "synthetic", "budget": f"{BUDGET}", "set": [*TINY, "model.parts=3"]}
    return Nets(Spec.model_validate({**base, "arms": ARMS, **changes}), COCO17)


@cache
def usual() -> Nets:
    return nets()


def found_by(arm: str, seed: int) -> Architecture:
    """As if a search had found a random mixture; tied where the arm ties it."""
    whole = usual().supernet(arm, seed)
    found = derive(random_mixture(whole, np.random.default_rng(seed)), "argmax", SearchSettings(max_inputs=1))
    if whole.space.share_parts:
        one = next(iter(found.genotypes.values()))
        found = found.with_genotypes(
            {**{name: genotype for name, (_, genotype) in found.fabrics().items()}}
            | dict.fromkeys(found.partition, one)
        )
    return found


@pytest.mark.parametrize("arm", ["A", "D", "E", "F", "H"])
def test_every_arm_costs_the_same(arm: str) -> None:
    macs = count(usual().net(arm, 1, found_by)).macs
    assert 0.98 * BUDGET <= macs <= BUDGET


def test_kinds_are_what_they_say() -> None:
    found = found_by("A", 1)
    chosen = {arm: usual().chosen(arm, 1, found_by) for arm in ARMS if arm != "H"}
    assert chosen["A"] == found
    assert len({str(genotype) for genotype in chosen["B"].genotypes.values()}) == 1
    assert sorted(map(str, chosen["C"].genotypes.values())) == sorted(map(str, found.genotypes.values()))
    assert chosen["C"].genotypes != found.genotypes
    assert chosen["C"].partition == found.partition
    assert chosen["E"] == usual().supernet("E", 1)
    assert list(chosen["F"].partition) == ["all"]
    assert chosen["G"].partition != found.partition
    assert usual().supernet("G", 1).partition != usual().supernet("G", 2).partition
    assert (chosen["J1"].vector_dim, chosen["J1"].activation) == (1, "sigmoid")
    assert chosen["J2"].fusion == "mean"
    assert chosen["J2"].genotypes == chosen["J1"].genotypes == found.genotypes


def test_a_hand_made_arm_is_the_same_net_for_all_seeds_with_the_vectors_of_the_recipe() -> None:
    net = usual().net("H", 1, found_by)
    assert isinstance(net, HandMade)
    assert net == usual().net("H", 2, found_by)
    assert list(net.partition) == list(usual().supernet("A", 1).partition)
    assert net.vector_dim == usual().supernet("A", 1).vector_dim


def test_draws_differ_and_do_not_depend_on_how_many_there_are() -> None:
    drawn = [usual().chosen("D", draw, found_by) for draw in range(4)]
    assert len({str(net.genotypes) for net in drawn}) == 4
    more = nets(arms=ARMS | {"D": {"kind": "random", "draws": 9}})
    assert [more.chosen("D", draw, found_by) for draw in range(4)] == drawn
    cells = [cell for net in drawn for genotype in net.genotypes.values() for cell in genotype.cells.values()]
    assert all(len(edge) == 1 for cell in cells for edge in cell.edges)


def test_nothing_that_is_lent_to_a_search_is_left_in_a_net_that_is_trained() -> None:
    lent = ("model.fabric.base_channels=2", "model.fabric.partial_channels=2", "model.fabric.auxiliary_skip=linear")
    arms = {name: ARMS[name] for name in "ADE"}
    partial = nets(arms=arms, set=[*TINY, "model.parts=3", *lent])
    for arm in arms:
        net = partial.net(arm, 1, lambda arm, seed: partial.supernet(arm, seed))
        assert isinstance(net, Architecture)
        assert net.deployed() == net
        assert 0.98 * BUDGET <= count(net).macs <= BUDGET


def test_parts_that_share_a_mixture_must_share_what_is_kept() -> None:
    with pytest.raises(UserError, match=r"search\.budget"):
        usual().chosen("B", 1, lambda arm, seed: found_by("A", seed))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {"A": {"kind": "searched", "derive": "argmin"}}}, "unknown derivation method"),
        ({"arms": {"F": {"kind": "whole_body"}, "G": {"kind": "random_groups", "parts": "1"}}}, "drawn anew"),
        ({"budget": "1M", "set": ["backbone.name=resnet18", "backbone.pretrained=false"]}, "backbone of"),
        ({"arms": ARMS | {"D": {"kind": "random", "ranked_by": "F"}}}, "ranked by 'F'"),
        ({"arms": {"H": {"kind": "handmade", "head": "deconv"}}}, "did you mean 'deconvolution'"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        nets(**changes)


@given(st.integers(2, 8), st.integers(0, 100))
def test_a_derangement_moves_everything(length: int, seed: int) -> None:
    order = derangement(length, seed)
    assert sorted(order) == list(range(length))
    assert all(place != number for place, number in enumerate(order))
    assert derangement(length, seed) == order


def test_every_derangement_is_as_likely() -> None:
    drawn = [tuple(derangement(4, seed)) for seed in range(900)]
    counts = [drawn.count(order) for order in set(drawn)]
    assert len(counts) == 9
    assert min(counts) > 70
    with pytest.raises(UserError, match="2 parts at least"):
        derangement(1, 0)


def test_arms_train_from_the_same_seeds_and_no_two_nets_from_one() -> None:
    spec = usual().spec
    seeds = [[train_config(spec, arm, seed, again).seed for seed in range(3) for again in range(2)] for arm in "ACE"]
    assert seeds[0] == seeds[1] == seeds[2]
    assert len(set(seeds[0])) == 6
    assert search_config(spec, "A", 2).seed == 2


def test_what_a_tuned_net_scores_is_not_the_supernets_score() -> None:
    untuned = {"PCK@0.2": 30.0, "mixture/PCK@0.2": 50.0, "inherited/PCK@0.2": 10.0}
    assert inherited_score(untuned, "PCK@0.2") == 30.0
    assert inherited_score(untuned | {"PCK@0.2": 60.0, "recalibrated/PCK@0.2": 30.0}, "PCK@0.2") == 30.0
    assert inherited_score({"mixture/PCK@0.2": 50.0}, "PCK@0.2") is None
