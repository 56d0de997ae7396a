"""Strategies against the true ranking: a regression test of every one, in seconds."""

from __future__ import annotations

import pytest
import torch

from posefabric.strategies import STRATEGIES
from posefabric.tabular import TabularBenchmark, name_of
from posefabric.tabular.protocol import search

BEATS_RANDOM = ("sync", "first-order", "second-order", "gumbel", "random-k")
"""Those whose gain over the mean random architecture has an interval above 0 (LOG.md); `gumbel-hard` is below."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_search_is_a_function_of_its_seed_and_stays_in_the_space(strategy: str) -> None:
    first, again = (search(strategy, 3, "search.epochs=1") for _ in range(2))
    assert 0 <= TabularBenchmark.shipped().percentile(first.architecture) <= 100
    assert name_of(again.architecture) == name_of(first.architecture)
    assert again.score(again.architecture) == first.score(first.architecture)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", BEATS_RANDOM)
def test_what_is_found_beats_the_mean_random_architecture(strategy: str) -> None:
    table = TabularBenchmark.shipped()
    assert table.query(search(strategy, 1).architecture) < table.mean_random()
