"""Single nets of a space: drawn, mutated, inside a budget's band, and put back into their supernet."""

from __future__ import annotations

import functools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import JUDGE, small_config, small_supernet

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.budget import budget_macs
from posefabric.errors import UserError
from posefabric.genotype import EQUAL
from posefabric.models.cost import count
from posefabric.models.net import PoseNet
from posefabric.strategies import candidates
from posefabric.strategies.candidates import Candidate, Contest, Pool, as_mixture, random_genotypes
from posefabric.strategies.derive import METHODS, derive
from posefabric.strategies.genes import Gene, Genes

SPACES = {
    "shared": (),
    "per cell": ("model.fabric.share_operations=false", "backbone.fabric.share_operations=false"),
    "nodes": ("model.fabric.num_nodes=2", "model.fabric.boundary=omit"),
    "every entry": ("model.fabric.entries=every",),
    "wide": ("model.fabric.base_channels=8", "backbone.fabric.base_channels=4"),
    "widths": (
        "model.fabric.base_channels=4",
        "model.fabric.width_multipliers=[0.5,1.0]",
        "backbone.fabric.base_channels=4",
        "backbone.fabric.width_multipliers=[0.25,0.5,1.0]",
    ),
    "named backbone": ("backbone.name=resnet18", "model.parts=3"),
}
SPECIAL = {
    "partial": ("model.fabric.base_channels=4", "backbone.fabric.base_channels=4", "model.fabric.partial_channels=2"),
    "shared parts": (
        "model.parts=3",
        "model.fabric.share_parts=true",
        "model.fabric.base_channels=4",
        "model.fabric.width_multipliers=[0.5,1.0]",
    ),
}
seeds = st.integers(0, 10**6)


@functools.cache
def supernet(name: str = "shared") -> Architecture:
    return small_supernet(small_config(*(SPACES | SPECIAL)[name]))


@functools.cache
def pool(name: str = "shared", budget: str | None = None, most_inputs: int = 0) -> Pool:
    return Pool(supernet(name), budget, most_inputs)


def drawn(pool: Pool, count: int, seed: int = 0) -> list[Candidate]:
    return [pool.draw(seed, number) for number in range(count)]


@pytest.mark.parametrize("space", SPACES)
def test_a_random_net_keeps_one_operation_per_edge_and_its_macs_are_counted(space: str) -> None:
    whole = supernet(space)
    for net in drawn(pool(space, most_inputs=2), 3, seed=3):
        assert net.macs == count(net.architecture).macs
        assert documents.from_json(Architecture, documents.to_json(net.architecture), code="bad-run", where="") == (
            net.architecture
        )
        for fabric, (_, genotype) in net.architecture.fabrics().items():
            offered = whole.fabrics()[fabric][1].cells
            for site, cell in genotype.cells.items():
                assert 1 <= len(cell.inputs) <= 2
                assert set(cell.inputs) <= set(offered[site].inputs)
                assert all(len(edge) <= 1 and set(edge.values()) <= {EQUAL} for edge in cell.edges)


@given(seed=seeds)
def test_cells_share_their_operations_where_the_space_says_so(seed: int) -> None:
    genes = Genes(supernet("shared"))
    for genotype in genes.genotypes(genes.draw(np.random.default_rng(seed))).values():
        assert len({cell.edges[0].keys() and next(iter(cell.edges[0])) for cell in genotype.cells.values()}) == 1


def test_draws_repeat_and_fewer_are_the_first_of_more() -> None:
    few, more, other = (drawn(pool(), count, seed) for count, seed in ((2, 7), (4, 7), (2, 8)))
    assert few == more[:2] == random_genotypes(supernet(), 2, 7)
    assert few != other
    assert [net.origin for net in more] == [{"seed": 7, "draw": i} for i in range(4)]


@pytest.mark.parametrize("budget", ["60%", "75%"])
def test_with_a_budget_every_net_is_in_its_band(budget: str) -> None:
    most = budget_macs(budget, count(supernet("wide")).macs)
    nets = drawn(pool("wide", budget), 6)
    assert all(0.95 * most <= net.macs <= most for net in nets)
    assert all(net.genome is not None for net in nets)
    assert len({documents.to_json(net.architecture) for net in nets}) > 1


def test_where_draws_hardly_ever_meet_the_band_a_random_mixture_is_made_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "TRIES", 0)
    most = budget_macs("80%", count(supernet("wide")).macs)
    first, second = drawn(pool("wide", "80%"), 2)
    for net in (first, second):
        assert net.origin["fitted"]
        assert net.genome is None
        assert 0.9 * most <= net.macs == count(net.architecture).macs <= most
    assert first.architecture != second.architecture


@pytest.mark.parametrize("space", ["wide", "widths", "partial"])
def test_a_net_made_to_fit_has_no_more_than_the_supernet_and_may_win(
    space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "TRIES", 0)
    narrow = pool(space, "99.9%")  # nets of whole choices fall short of it
    net = narrow.draw(0, 0)
    assert net.macs == count(net.architecture.deployed()).macs
    supernet_state = {name: tensor.shape for name, tensor in PoseNet(narrow.supernet).state_dict().items()}
    for name, tensor in PoseNet(net.architecture).state_dict().items():
        assert all(n <= m for n, m in zip(tensor.shape, supernet_state[name], strict=True))
        assert tensor.shape == supernet_state[name] or space == "widths"
    with Contest(lambda net: 0.0, lambda row: None, narrow, 1) as contest:
        contest.enter(net)
        found = as_mixture(narrow.supernet, contest.winner.architecture)
    assert found.fabrics().keys() == narrow.supernet.fabrics().keys()


def test_parts_that_share_their_mixtures_share_their_genes() -> None:
    for net in drawn(pool("shared parts"), 3):
        first, *others = net.architecture.genotypes.values()
        assert len(others) == 2
        assert all(other == first for other in others)
        assert len({tuple(widths) for widths in net.architecture.widths.values()}) == 1


def test_a_budget_that_no_net_meets_names_the_smallest() -> None:
    with pytest.raises(UserError, match="smallest reachable cost"):
        random_genotypes(supernet("wide"), 1, seed=0, budget="1%")


def test_cheap_and_dear_nets_are_both_drawn() -> None:
    whole = count(supernet("named backbone")).macs
    shares = [net.macs / whole for net in drawn(pool("named backbone", most_inputs=2), 60)]
    assert max(shares) - min(shares) > 0.3


def test_in_turn_every_option_comes_once_in_a_round() -> None:
    genes = Genes(supernet("named backbone"))
    turns = [genes.in_turn(4, step) for step in range(12)]
    for name, gene in genes.table.items():
        size = len(gene.options)
        for start in range(0, 12 // size * size, size):
            assert Counter(turn[name] for turn in turns[start : start + size]) == dict.fromkeys(gene.options, 1)
    assert turns == [genes.in_turn(4, step) for step in range(12)]
    assert turns != [genes.in_turn(5, step) for step in range(12)]
    for step, turn in enumerate(turns):
        genome = genes.draw(np.random.default_rng(step), turn)
        assert all(turn[name] in kept for name, kept in genome.items())


@given(seed=seeds, fullness=st.floats(0, 1), most=st.integers(1, 4))
def test_a_gene_keeps_between_one_and_most_of_its_options_in_their_order(seed: int, fullness: float, most: int) -> None:
    gene = Gene("gene", ("a", "b", "c", "d"), most)
    kept = gene.draw(np.random.default_rng(seed), fullness, first="c")
    assert kept in gene.values
    assert "c" in kept
    assert len(gene.draw(np.random.default_rng(seed), 0.0)) == 1
    assert len(gene.draw(np.random.default_rng(seed), 1.0)) == most


@given(seed=seeds)
def test_a_mutation_changes_one_gene_to_another_value(seed: int) -> None:
    genes = Genes(supernet(), 2)
    random = np.random.default_rng(seed)
    before = genes.draw(random)
    after = genes.mutated(before, random)
    (changed,) = (name for name in before if before[name] != after[name])
    assert after[changed] in genes.table[changed].values


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("method", METHODS)
def test_deriving_from_a_net_put_back_into_its_supernet_gives_the_net(space: str, method: str) -> None:
    settings = small_config("search.max_inputs=2").search
    for net in drawn(pool(space, most_inputs=1 if method == "path" else 2), 3, seed=1):
        found = as_mixture(supernet(space), net.architecture)
        assert derive(found, method, settings, JUDGE) == net.architecture


@pytest.mark.parametrize("method", METHODS)
def test_under_a_budget_deriving_keeps_all_of_a_net_in_the_band(method: str) -> None:
    settings = small_config("search.budget=60%").search
    for net in drawn(pool("wide", "60%"), 2, seed=2):
        derived = derive(as_mixture(supernet("wide"), net.architecture), method, settings, JUDGE)
        assert derived.genotypes == net.architecture.genotypes


def test_a_contest_is_won_by_the_best_inside_the_band_and_measures_each_net_once() -> None:
    ring = pool("wide", "60%")
    inside = drawn(ring, 3)
    outside = next(net for net in drawn(pool("wide"), 50) if not ring.holds(net.macs))
    values = {documents.to_json(net.architecture): value for net, value in zip(inside, (1.0, 3.0, 2.0), strict=True)}
    asked: list[str] = []
    rows: list[dict[str, object]] = []

    def score(architecture: Architecture) -> float:
        asked.append(documents.to_json(architecture))
        return values.get(asked[-1], 9.0)

    with Contest(score, lambda row: rows.append(dict(row)), ring, 4) as contest:
        found = [contest.enter(net) for net in (*inside, outside, inside[1])]
    assert found == [1.0, 3.0, 2.0, 9.0, 3.0]
    assert contest.winner == inside[1]
    assert len(contest) == len(asked) == 4
    assert [row["score"] for row in rows] == found[:4]
    assert rows[0].keys() == {"seed", "draw", "macs", "score", *candidates.RECORDED}
