"""Choices judged by their removal: what is missed most stays, each is tried once, and any scores give a net."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import arbitrary, lively_net, small_config, small_supernet, training_stream
from strategies_architecture import Search, searches, tiny_supernet

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.engine.inheritance import derived_net
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype
from posefabric.methods import DERIVATIONS
from posefabric.models.cost import count
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.settings import SearchSettings
from posefabric.strategies.derive import METHODS, derive
from posefabric.strategies.fitting import EXPECTED
from posefabric.strategies.perturbation import Judge, by_removal, num_scores

VALUES = {"skip_connect": 1.0, "sep_conv_3x3": 5.0, "dil_conv_3x3": 2.0, "avg_pool_3x3": 3.0, "max_pool_3x3": 4.0}
SLOT_VALUES = {"same": 1.0, "finer": 3.0, "coarser": 2.0, "feature": 0.5}


class Asked:
    """A score that remembers what it was asked."""

    def __init__(self, of: Mapping[str, float] | None = None, slots: Mapping[str, float] = SLOT_VALUES) -> None:
        self.asked: list[Architecture] = []
        self.of, self.slots = of or VALUES, slots

    def __call__(self, architecture: Architecture) -> float:
        self.asked.append(architecture)
        return worth(architecture, self.of, self.slots)


def worth(architecture: Architecture, operations: Mapping[str, float], slots: Mapping[str, float]) -> float:
    """The values of all choices that are kept."""
    return sum(
        sum(slots[slot] for slot in cell.inputs) + sum(operations[name] for edge in cell.edges for name in edge)
        for _, cell in cells(architecture)
    )


def cells(architecture: Architecture) -> list[tuple[str, CellChoice]]:
    fabrics = architecture.fabrics().items()
    return [(f"{name}.{site}", cell) for name, (_, kept) in fabrics for site, cell in kept.cells.items()]


def chosen(max_inputs: int = 2, budget: str | None = None) -> SearchSettings:
    return SearchSettings(max_inputs=max_inputs, budget=budget)


@pytest.mark.parametrize("share_operations", [True, False])
@pytest.mark.parametrize("num_nodes", [1, 2])
def test_what_is_missed_most_stays(share_operations: bool, num_nodes: int) -> None:
    whole = tiny_supernet("3", share_operations=share_operations, num_nodes=num_nodes)
    derived = derive(whole, "perturbation", chosen(), Judge(Asked()))
    found = dict(cells(whole))
    for name, cell in cells(derived):
        for edge, candidates in zip(cell.edges, found[name].edges, strict=True):
            assert edge == {max(candidates, key=lambda operation: VALUES[operation]): 1.0}


def test_the_inputs_that_are_missed_most_stay() -> None:
    """Of the head's last cell, which is always read; nothing else has any worth here."""
    whole = tiny_supernet()
    (last,) = whole.space.outputs()

    def score(architecture: Architecture) -> float:
        return sum(SLOT_VALUES[slot] for slot in architecture.genotypes["all"].cells[last.name].inputs)

    for number, kept in ((1, {"finer"}), (2, {"finer", "coarser"}), (3, {"same", "finer", "coarser"})):
        derived = derive(whole, "perturbation", chosen(number), Judge(score))
        assert set(derived.genotypes["all"].cells[last.name].inputs) == kept


@pytest.mark.parametrize("share_operations", [True, False])
@pytest.mark.parametrize("budget", [None, "90%"])
def test_scores_are_asked_for_as_often_as_predicted(share_operations: bool, budget: str | None) -> None:
    whole, score = tiny_supernet("3", share_operations=share_operations), Asked()
    fabrics = [kept.cells for _, kept in whole.fabrics().values()]
    edges = sum(len(c.edges[0]) for kept in fabrics for c in list(kept.values())[: 1 if share_operations else None])
    inputs = sum(len(cell.inputs) for kept in fabrics for cell in kept.values()) if budget else 0
    by_removal(whole, chosen(3, budget), Judge(score))
    assert len(score.asked) == num_scores(whole, chosen(3, budget)) == edges + inputs


@pytest.mark.parametrize("max_inputs", [1, 2])
def test_cells_that_nothing_reads_any_more_are_not_asked_about(max_inputs: int) -> None:
    whole, score, counts = tiny_supernet("3"), Asked(), [0]
    settings = chosen(max_inputs)
    by_removal(whole, settings, Judge(score, lambda _: counts.append(len(score.asked))))
    fabrics = whole.fabrics()
    asked = [now - before for before, now in itertools.pairwise(counts)]
    assert sum(asked) == len(score.asked) == counts[-1] <= num_scores(whole, settings)
    decided = asked[len(fabrics) :]
    assert set(decided) == {3}
    assert len(decided) < sum(len(cell.inputs) == 3 for _, cell in cells(whole)) or max_inputs == 2


def test_the_seed_decides_the_order_and_repeats_it() -> None:
    whole = tiny_supernet("3")
    asked = []
    for seed in (0, 0, 1):
        score = Asked()
        derive(whole, "perturbation", chosen(), Judge(score, seed=seed))
        asked.append(score.asked)
    assert asked[0] == asked[1]
    assert asked[0] != asked[2]


def test_edges_are_decided_before_inputs() -> None:
    whole, score = tiny_supernet(), Asked()
    by_removal(whole, chosen(), Judge(score))
    full = dict(cells(whole))
    touched = [any(cell.inputs != full[name].inputs for name, cell in cells(net)) for net in score.asked]
    assert touched == sorted(touched)
    assert any(touched)
    assert not touched[0]


def test_ties_go_to_the_first_candidate() -> None:
    derived = derive(tiny_supernet(num_nodes=2), "perturbation", chosen(1), Judge(lambda _: 0.0))
    for _, cell in cells(derived):
        assert all(list(edge) == ["skip_connect"] for edge in cell.edges)
        assert list(cell.inputs) == ["same"]


def test_what_is_left_is_told_after_every_decision() -> None:
    whole, left = tiny_supernet(share_operations=False), []
    by_removal(whole, chosen(), Judge(Asked(), left.append))
    open_edges = [sum(len(edge) > 1 for _, cell in cells(net) for edge in cell.edges) for net in left]
    assert open_edges[: len(cells(whole))] == list(range(len(cells(whole)) - 1, -1, -1))
    weights = {weight for _, cell in cells(left[-1]) for edge in cell.edges for weight in edge.values()}
    assert weights == {1.0}


def test_removal_leaves_the_other_weights_as_they_are() -> None:
    torch.manual_seed(0)
    net = PoseNet(tiny_supernet(), softmax_mixings(tiny_supernet()))
    for logits in net.architecture_parameters():
        torch.nn.init.normal_(logits)
    found, score = mixture(net), Asked()
    by_removal(found, chosen(), Judge(score))
    before = dict(cells(found))
    first = dict(cells(score.asked[0]))
    for name, cell in first.items():
        assert cell.inputs == before[name].inputs
        for edge, candidates in zip(cell.edges, before[name].edges, strict=True):
            assert edge.items() <= candidates.items()
    assert sum(len(cell.edges[0]) for cell in before.values()) > sum(len(cell.edges[0]) for cell in first.values())


@settings(max_examples=25, deadline=None)
@given(searches(), st.integers(1, 3), st.integers(0, 9))
def test_any_scores_give_a_net_with_one_operation_per_edge(search: Search, max_inputs: int, seed: int) -> None:
    (found,) = search.found
    for mixed in (found, search.whole):
        derived = derive(mixed, "perturbation", chosen(max_inputs), Judge(arbitrary, seed=seed))
        offered = dict(cells(mixed))
        for name, cell in cells(derived):
            assert 1 <= len(cell.inputs) <= max_inputs
            assert all(len(edge) <= 1 for edge in cell.edges)
            assert cell.inputs.keys() <= offered[name].inputs.keys()
        again = documents.from_json(Architecture, documents.to_json(derived), code="bad-architecture", where="")
        assert again == derived


@settings(max_examples=15, deadline=None)
@given(searches(), st.integers(1, 3), st.integers(0, 9))
def test_the_net_is_the_one_the_decisions_left(search: Search, max_inputs: int, seed: int) -> None:
    left: list[Architecture] = []
    derived = derive(search.whole, "perturbation", chosen(max_inputs), Judge(arbitrary, left.append, seed))
    if left:
        assert even(derived) == even(left[-1])


def even(architecture: Architecture) -> dict[str, tuple[set[str], list[set[str]]]]:
    return {name: (set(cell.inputs), [set(edge) for edge in cell.edges]) for name, cell in cells(architecture)}


@pytest.mark.parametrize("budget", ["97%", "94%"])
def test_a_budget_keeps_first_what_is_missed_most(budget: str) -> None:
    whole = tiny_supernet("3", share_operations=False)
    derived = derive(whole, "perturbation", chosen(1, budget), Judge(Asked()))
    limit = count(whole).macs * float(budget[:-1]) / 100
    assert EXPECTED * limit <= count(derived).macs <= limit


def test_a_budget_that_nothing_fits_in_is_refused_before_anything_is_judged() -> None:
    score = Asked()
    with pytest.raises(UserError, match="the smallest reachable cost"):
        derive(tiny_supernet(), "perturbation", chosen(budget="1K"), Judge(score))
    assert score.asked == []


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="give nan"):
        by_removal(tiny_supernet(), chosen(), Judge(lambda _: float("nan")))


def test_methods_that_judge_need_a_judge() -> None:
    with pytest.raises(AssertionError, match="judge"):
        derive(tiny_supernet(), "perturbation", chosen())


def test_help_texts_name_every_method() -> None:
    assert list(DERIVATIONS) == list(METHODS)


@pytest.mark.parametrize("wanted", ["skip_connect", "sep_conv_3x3", "dil_conv_3x3"])
def test_on_a_net_whose_best_operation_is_known_it_is_found(wanted: str) -> None:
    """The target is what the net shows with one operation alone, and the others do little: its removal hurts most."""
    config = small_config(
        "model.fabric.operations=[zero,skip_connect,sep_conv_3x3,dil_conv_3x3]",
        "backbone.fabric.operations=[sep_conv_3x3]",
    )
    net = lively_net(config)
    (part,) = net.architecture.partition
    images = training_stream(config, 1)[0].images
    for name, buffer in net.parts.named_buffers():
        if name.endswith("running_var") and ".edges." in name and wanted not in name:
            buffer.fill_(1e6)  # what the norms of the other operations pass on is next to nothing
    genotype = net.architecture.genotypes[part]
    alone = Genotype({site: CellChoice(cell.inputs, ({wanted: 1.0},)) for site, cell in genotype.cells.items()})
    fabrics = {name: kept for name, (_, kept) in net.architecture.fabrics().items()}

    @torch.no_grad()
    def maps(architecture: Architecture) -> torch.Tensor:
        shown: torch.Tensor = derived_net(architecture, net).eval()(images)
        return shown

    target = maps(net.architecture.with_genotypes(fabrics | {part: alone}))
    judge = Judge(lambda architecture: -float((maps(architecture) - target).square().mean()))
    derived = derive(net.architecture, "perturbation", chosen(3), judge)
    assert {name for cell in derived.genotypes[part].cells.values() for edge in cell.edges for name in edge} == {wanted}


def test_parts_that_share_their_mixtures_are_judged_as_one() -> None:
    config = small_config("model.parts=3", "model.fabric.share_parts=true", "search.derive=perturbation")
    derived = derive(small_supernet(config), "perturbation", config.search, Judge(arbitrary))
    first, *others = derived.genotypes.values()
    assert len(others) == 2
    assert all(other == first for other in others)
