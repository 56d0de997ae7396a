"""From a mixture to a net: what is kept, with which weights, and that nothing is ever empty."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import JUDGE, small_config
from strategies_architecture import tiny_supernet

from posefabric.architecture import Architecture
from posefabric.errors import UserError
from posefabric.genotype import CellChoice
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.predictor import inherit
from posefabric.settings import SearchSettings
from posefabric.space import ZERO
from posefabric.strategies.derive import (
    METHODS,
    Choice,
    above_threshold,
    derive,
    strongest,
    strongest_inputs,
)

MIXTURES = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 10), min_size=1)


def chosen(threshold: float = 0.0, max_inputs: int = 2) -> SearchSettings:
    return SearchSettings(threshold=threshold, max_inputs=max_inputs)


def searched(seed: int, spread: float = 1.0, **space: object) -> PoseNet:
    """A supernet whose logits some search has moved."""
    torch.manual_seed(seed)
    whole = tiny_supernet("3", **space)  # type: ignore[arg-type]
    net = PoseNet(whole, softmax_mixings(whole))
    for logits in net.architecture_parameters():
        torch.nn.init.normal_(logits, std=spread)
    return net.eval()


def cells(architecture: Architecture) -> dict[str, CellChoice]:
    return {
        f"{fabric}.{site}": choice
        for fabric, (_, genotype) in architecture.fabrics().items()
        for site, choice in genotype.cells.items()
    }


def num_kept(architecture: Architecture) -> int:
    return sum(len(cell.inputs) + sum(map(len, cell.edges)) for cell in cells(architecture).values())


@given(MIXTURES, st.integers(1, 4))
def test_the_strongest_are_kept(weights: dict[str, float], count: int) -> None:
    kept = strongest_inputs(weights, chosen(max_inputs=count))
    assert len(kept) == min(count, len(weights))
    assert kept.items() <= weights.items()
    dropped = [weight for name, weight in weights.items() if name not in kept]
    assert max(dropped, default=0) <= min(weights[name] for name in kept)
    assert strongest(weights, chosen(max_inputs=count)) == strongest_inputs(weights, chosen(max_inputs=1))


def test_ties_go_to_the_first() -> None:
    assert strongest({"b": 1.0, "a": 1.0, "c": 0.5}, chosen()) == {"b": 1.0}
    assert strongest_inputs({"c": 0.5, "b": 1.0, "a": 1.0, "d": 1.0}, chosen()) == {"b": 1.0, "a": 1.0}
    assert above_threshold({"b": 1.0, "a": 1.0}, chosen(threshold=0.9)) == {"b": 1.0}


@given(MIXTURES, st.lists(st.floats(0, 0.999), min_size=2, max_size=4))
def test_rising_thresholds_keep_fewer_and_never_none(weights: dict[str, float], thresholds: list[float]) -> None:
    kept = [above_threshold(weights, chosen(threshold)) for threshold in sorted(thresholds)]
    for more, fewer in itertools.pairwise(kept):
        assert fewer.items() <= more.items()
    assert all(kept)
    assert all(choice.items() <= weights.items() for choice in kept)


def test_a_threshold_is_a_share_of_the_mixture() -> None:
    weights = {"a": 2.0, "b": 1.0, "c": 1.0}
    assert above_threshold(weights, chosen(0.24)) == weights
    assert above_threshold(weights, chosen(0.25)) == {"a": 2.0}
    assert above_threshold({"a": 1.0, "b": 0.0}, chosen()) == {"a": 1.0}


@pytest.mark.parametrize("keep", [above_threshold, strongest, strongest_inputs])
def test_a_dropped_edge_stays_dropped(keep: Choice) -> None:
    assert keep({}, chosen()) == {}


@pytest.mark.parametrize("max_inputs", [1, 2, 3])
@pytest.mark.parametrize("share_operations", [True, False])
def test_argmax_keeps_one_operation_per_edge_and_few_inputs(max_inputs: int, share_operations: bool) -> None:
    found = mixture(searched(0, share_operations=share_operations, num_nodes=2))
    derived = derive(found, "argmax", chosen(max_inputs=max_inputs))
    for name, cell in cells(derived).items():
        assert 1 <= len(cell.inputs) <= max_inputs
        assert {*cell.inputs.values(), *(weight for edge in cell.edges for weight in edge.values())} == {1.0}
        for edge, candidates in zip(cell.edges, cells(found)[name].edges, strict=True):
            assert list(edge) == [max(candidates, key=lambda operation: candidates[operation])]
            assert ZERO not in edge


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_threshold_zero_is_the_supernet_itself(seed: int) -> None:
    net = searched(seed, num_nodes=2, share_operations=False)
    derived = PoseNet(derive(mixture(net), "threshold", chosen())).eval()
    inherit(derived, net.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        torch.testing.assert_close(derived(images), net(images), rtol=1e-6, atol=1e-6)


def test_rising_thresholds_keep_less_of_a_net_down_to_one_path() -> None:
    found = mixture(searched(1, spread=2.0))
    sizes = [num_kept(derive(found, "threshold", chosen(threshold))) for threshold in (0, 0.1, 0.3, 0.5, 0.99)]
    assert sizes[0] == num_kept(found)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) >= 4
    assert all(len(cell.inputs) == 1 for cell in cells(derive(found, "threshold", chosen(0.99))).values())


@pytest.mark.parametrize("method", METHODS)
def test_deriving_twice_changes_nothing(method: str) -> None:
    config = small_config("search.threshold=0.2").search
    once = derive(mixture(searched(2)), method, config, JUDGE)
    again = derive(once, method, config, JUDGE)
    assert num_kept(again) <= num_kept(once) if method == "threshold" else again == once


def test_an_unknown_method_is_named_with_a_suggestion() -> None:
    with pytest.raises(UserError, match="unknown derivation method 'treshold'; did you mean 'threshold'") as caught:
        derive(mixture(searched(0)), "treshold", chosen())
    assert caught.value.code == "unknown-name"
