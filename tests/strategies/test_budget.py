"""Derivation under a budget, and paths: whatever the mixture, the net fits, is whole, and uses what it may."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import JUDGE
from strategies_architecture import tiny_supernet

from posefabric import documents
from posefabric.architecture import Architecture, supernet
from posefabric.backbone import Backbone, fabric_backbone
from posefabric.budget import budget_macs
from posefabric.errors import UserError
from posefabric.genotype import Genotype
from posefabric.models.choices import ChoiceCosts, choice_costs
from posefabric.models.cost import count
from posefabric.models.net import mixed, softmax_mixings
from posefabric.settings import SearchSettings
from posefabric.skeletons import COCO17
from posefabric.space import HEAD_OPERATIONS, SearchSpace
from posefabric.strategies import cost as cost_module
from posefabric.strategies.derive import METHODS, check_derivation, derive, file_name
from posefabric.strategies.fitting import EXPECTED
from posefabric.strategies.paths import best_path, log_shares

every_method = pytest.mark.parametrize("method", METHODS)
every_space = pytest.mark.parametrize("name", ["fabric", "mobilenet", "widths"])


@cache
def whole(name: str) -> Architecture:
    if name == "fabric":
        return tiny_supernet("3", num_nodes=2, share_operations=False)
    multipliers = (0.25, 0.5, 0.75, 1.0) if name == "widths" else (1.0,)
    space = SearchSpace(6, 3, 6, base_channels=8, width_multipliers=multipliers)
    return supernet(COCO17, COCO17.partition("3"), Backbone("mobilenetv2_100"), space, (64, 64))


@cache
@torch.no_grad()
def drawn(name: str, seed: int, spread: float) -> Architecture:
    """What a search might have found: a random mixture; even where the spread is 0."""
    torch.manual_seed(seed)
    architecture = whole(name)
    mixings = softmax_mixings(architecture)
    for mixing in mixings.values():
        for logits in mixing.parameters():
            torch.nn.init.normal_(logits, std=spread)
    return mixed(architecture, mixings)


def within(budget: str | None, **further: object) -> SearchSettings:
    """Budgets that buy choices alone; `test_spending` is about those that buy channels, too."""
    return SearchSettings.model_validate({"budget": budget, "widen": False, **further})


@cache
def costs_of(name: str) -> ChoiceCosts:
    return choice_costs(whole(name))


@pytest.fixture(scope="module", autouse=True)
def counted_once() -> Iterator[None]:
    """Every mixture here is one of three supernets', whose choices need not be counted anew."""
    named = {whole(name).space: name for name in ("fabric", "mobilenet", "widths")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            cost_module,
            "choice_costs",
            lambda found: replace(costs_of(named[found.space]), architecture=found),
        )
        yield


def macs_of(name: str, derived: Architecture) -> int:
    widths = {fabric: derived.channels(fabric) for fabric in derived.fabrics()} if derived.several_widths else {}
    return costs_of(name).at(widths).macs({fabric: genotype for fabric, (_, genotype) in derived.fabrics().items()})


@cache
def smallest(name: str) -> int:
    """What the error says."""
    with pytest.raises(UserError, match="the smallest reachable cost") as caught:
        derive(drawn(name, 0, 1.0), "argmax", within("1"))
    return int(caught.value.allowed.split()[2].rstrip(","))


@every_method
@every_space
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 100), spread=st.sampled_from((0.0, 1.0, 5.0)), share=st.floats(0, 1))
def test_a_budget_is_met_and_used(method: str, name: str, seed: int, spread: float, share: float) -> None:
    found = drawn(name, seed, spread)
    budget = round(smallest(name) + share * (costs_of(name).whole - smallest(name)))
    derived = derive(found, method, within(str(budget)), JUDGE)
    macs = macs_of(name, derived)
    assert EXPECTED * budget <= macs <= budget
    assert derived == derive(found, method, within(str(budget)), JUDGE)
    for fabric, (space, genotype) in derived.fabrics().items():
        assert {site.name for site in space.outputs()} & set(genotype.cells)
        kept = [name for cell in genotype.cells.values() for edge in cell.edges for name in edge]
        assert "zero" not in kept
        assert all(cell.inputs and all(cell.edges) for cell in genotype.cells.values()), fabric
    written = documents.to_json(derived)
    assert documents.from_json(Architecture, written, code="bad-architecture", where="") == derived


@every_method
@every_space
def test_what_derivation_says_it_costs_is_what_the_counter_counts(method: str, name: str) -> None:
    found = drawn(name, 3, 1.0)
    share = {"fabric": "90%", "mobilenet": "60%", "widths": "30%"}[name]  # the tiny fabrics are mostly stem
    budget = budget_macs(share, costs_of(name).whole)
    assert 0.9 * budget <= count(derive(found, method, within(share), JUDGE)).macs <= budget


@every_method
@every_space
def test_the_smallest_reachable_cost_is_reached_and_nothing_below(method: str, name: str) -> None:
    least = smallest(name)
    assert count(derive(drawn(name, 1, 1.0), method, within(str(least)), JUDGE)).macs == least
    settings = within(str(least - 1), derive=method)
    for refuse in (
        lambda: derive(drawn(name, 1, 1.0), method, settings, JUDGE),
        lambda: check_derivation(whole(name), settings),
    ):
        with pytest.raises(UserError, match=f"at least {least}, the smallest reachable cost") as caught:
            refuse()
        assert caught.value.code == "bad-value"


@every_space
@torch.no_grad()
def test_no_random_net_costs_less_than_the_smallest(name: str) -> None:
    architecture = whole(name)
    torch.manual_seed(0)
    for _ in range(100):
        mixings = softmax_mixings(architecture)
        for mixing in mixings.values():
            for logits in mixing.parameters():
                torch.nn.init.normal_(logits)
        derived = derive(mixed(architecture, mixings), "argmax", within(None, max_inputs=1))
        assert macs_of(name, derived) >= smallest(name)


@every_method
@pytest.mark.parametrize("name", ["fabric", "widths"])
def test_a_whole_budget_buys_everything_of_an_even_mixture(method: str, name: str) -> None:
    found = drawn(name, 0, 0.0)
    assert macs_of(name, derive(found, method, within("100%"), JUDGE)) == costs_of(name).whole


@every_method
def test_without_a_budget_every_scale_has_the_width_of_the_largest_share(method: str) -> None:
    found = drawn("widths", 4, 1.0)
    derived = derive(found, method, within(None), JUDGE)
    assert derived.width_shares == {}
    for part, strides in found.width_shares.items():
        for stride, shares in strides.items():
            chosen = found.width_choices(part)[stride].index(derived.channels(part)[stride])
            assert shares[chosen] == max(shares)


@every_method
def test_a_small_budget_makes_nets_narrow_rather_than_empty(method: str) -> None:
    """Less than a net of full width costs that keeps one path per part."""
    found = drawn("widths", 4, 1.0)
    least = smallest("mobilenet")
    derived = derive(found, method, within(str(least - 1)), JUDGE)
    assert macs_of("widths", derived) < least
    assert {part: set(genotype.cells) for part, genotype in derived.genotypes.items()}
    assert all(
        a < b for part in derived.widths for a, b in zip(derived.widths[part][:1], found.widths[part][:1], strict=True)
    )


@every_method
def test_more_money_buys_no_less(method: str) -> None:
    found = drawn("mobilenet", 2, 1.0)
    shares = [f"{share}%" for share in range(20, 101, 10)]
    bought = [derive(found, method, within(share), JUDGE) for share in shares]
    macs = [macs_of("mobilenet", derived) for derived in bought]
    assert macs == sorted(macs)


def test_a_budget_too_coarse_to_use_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        derived = derive(drawn("mobilenet", 0, 1.0), "argmax", within("10G"))
    macs = count(derived).macs
    assert f"the derived net costs {macs} MACs" in caplog.text
    assert macs == count(whole("mobilenet")).macs


@every_method
@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("boundary", ["repeat", "omit"])
def test_short_heads_that_read_few_strides_have_budgets_too(method: str, keep: int, boundary: str) -> None:
    backbone = fabric_backbone(SearchSpace.backbone(1, num_layers=6, keep=3))
    space = replace(SearchSpace.head(4, keep=keep), boundary=boundary)  # type: ignore[arg-type]
    found = supernet(COCO17, COCO17.partition("1"), backbone, space, (64, 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost_module, "choice_costs", choice_costs)
        with pytest.raises(UserError, match="the smallest reachable cost") as caught:
            derive(found, method, within("1"), JUDGE)
        least = int(caught.value.allowed.split()[2].rstrip(","))
        assert count(derive(found, method, within(str(least)), JUDGE)).macs == least


def test_the_best_path_is_the_likeliest_of_all() -> None:
    """Against every path there is, counted out."""
    space = SearchSpace(6, 3, 6, 1)
    genotype = drawn("mobilenet", 5, 2.0).genotypes["head"]
    scores = {}

    def follow(site: str, slots: tuple[str, ...], score: float) -> None:
        if site.startswith("feature"):
            scores[slots] = score
            return
        shares = log_shares(genotype.cells[site].inputs)
        for source in space.site(site).sources:
            follow(source.origin, (*slots, f"{site}.{source.slot}"), score + shares[source.slot])

    (output,) = space.outputs()
    follow(output.name, (), 0.0)
    kept = drawn("mobilenet", 5, 2.0).pruned(
        {part: best_path(space, genotype) for part in whole("mobilenet").partition}
    )["head"]
    assert len(kept.cells) == 3
    path = tuple(f"{site}.{slot}" for site, cell in reversed(kept.cells.items()) for slot in cell.inputs)
    assert path == max(scores, key=lambda slots: scores[slots])


def test_of_equal_paths_the_first_is_taken() -> None:
    derived = derive(drawn("mobilenet", 0, 0.0), "path", within(None))
    for genotype in derived.genotypes.values():
        assert genotype == Genotype(genotype.cells)
        for cell in genotype.cells.values():
            assert dict(cell.inputs) == {"same": 1.0}
            assert cell.edges == ({HEAD_OPERATIONS[1]: 1.0},)


@pytest.mark.parametrize(
    ("text", "macs"),
    [("150M", 150_000_000), ("1.2G", 1_200_000_000), ("60%", 600), ("500 k".upper(), 500_000), ("7", 7)],
)
def test_budgets_are_read(text: str, macs: int) -> None:
    assert budget_macs(text, 1000) == macs


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-3M", "many", "1.2T", "60 percent", "nan", "inf"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"MACs such as 150M or 1\.2G, or a share such as 60%"):
        budget_macs(text, 1000)


def test_files_bear_method_and_budget() -> None:
    assert file_name("path", within("60%")) == "path-60%"
    assert file_name("path", within(None)) == "path"
