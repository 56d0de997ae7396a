"""What can be asked of a table, on one whose answers are known, and the shipped one."""

from __future__ import annotations

import dataclasses
from importlib import resources

import numpy as np
import pytest

from posefabric.errors import UserError
from posefabric.models.cost import count
from posefabric.tabular import TabularBenchmark, architectures, cut_supernet
from posefabric.tabular.protocol import train
from posefabric.tabular.table import FILE, Row, Trained

NAMES = list(architectures())


def trained(loss: float) -> Trained:
    return Trained(loss=loss, pck=300 - loss, val_loss=2 * loss, val_pck=290 - loss, curve=(9.0, loss), seconds=1.0)


@pytest.fixture(scope="module")
def known() -> TabularBenchmark:
    """The n-th architecture has the mean loss n + 1, half a point apart in two seeds, and costs n MACs."""
    return TabularBenchmark(
        {name: Row(n, 2 * n, (trained(n + 0.75), trained(n + 1.25))) for n, name in enumerate(NAMES)}
    )


def test_ranking_is_best_first_whatever_is_better(known: TabularBenchmark) -> None:
    assert known.ranking() == known.ranking("pck") == known.ranking("val_loss", seed=1) == NAMES


def test_scores_are_means_over_seeds_unless_one_is_named(known: TabularBenchmark) -> None:
    architecture = architectures()[NAMES[3]]
    assert known.query(architecture) == known.query(NAMES[3]) == pytest.approx(4.0)
    assert known.query(architecture, seed=0) == pytest.approx(3.75)
    assert known.query(architecture, "pck", seed=1) == pytest.approx(295.75)


def test_mean_random_is_where_improvement_is_zero(known: TabularBenchmark) -> None:
    assert known.mean_random() == pytest.approx(113.0)
    for metric in ("loss", "pck"):
        gains = [known.improvement(name, metric) for name in NAMES]
        assert np.mean(gains) == pytest.approx(0.0, abs=1e-9)
        assert gains == sorted(gains, reverse=True)


def test_percentile_is_the_share_that_is_worse(known: TabularBenchmark) -> None:
    assert [known.percentile(NAMES[n]) for n in (0, 112, 224)] == [100.0, 50.0, 0.0]
    level = TabularBenchmark({name: Row(1, 1, (trained(1.0),)) for name in NAMES})
    assert level.percentile(NAMES[7], "pck") == 50.0


def test_noise_and_agreement_of_seeds(known: TabularBenchmark) -> None:
    assert known.seed_noise() == pytest.approx(0.5 / np.sqrt(2))
    assert known.seed_agreement() == known.seed_agreement("pck") == pytest.approx(1.0)
    turned = TabularBenchmark({name: Row(1, 1, (trained(n + 1.0), trained(290.0 - n))) for n, name in enumerate(NAMES)})
    assert turned.seed_agreement() == turned.seed_agreement("pck") == pytest.approx(-1.0)


def test_correlation_is_one_for_the_true_scores_and_counts_those_given(known: TabularBenchmark) -> None:
    some = {name: known.query(name, "pck") for name in NAMES[::10]}
    assert known.correlation(some).estimate == pytest.approx(1.0)
    assert known.correlation(known.proxy("macs")).estimate == pytest.approx(-1.0)
    assert known.correlation(known.proxy("parameters"), "pck").estimate == pytest.approx(-1.0)
    assert np.isnan(known.correlation(known.proxy("seconds")).estimate)


def test_what_is_not_there_is_told(known: TabularBenchmark) -> None:
    with pytest.raises(UserError, match="'pkc'; did you mean 'pck'"):
        known.scores("pkc")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="did you mean '4:skip_connect/4:skip_connect'"):
        known.query("4:skip_connect/4:skip_connec")
    with pytest.raises(UserError, match="seed 2"):
        known.query(NAMES[0], seed=2)
    with pytest.raises(UserError, match="unknown proxy"):
        known.proxy("flops")
    with pytest.raises(UserError, match="not in the tabular benchmark"):
        known.query(cut_supernet())


@pytest.mark.parametrize("lacking", ["architecture", "seed"])
def test_a_table_is_whole(known: TabularBenchmark, lacking: str) -> None:
    rows = dict(known.rows)
    if lacking == "architecture":
        del rows[NAMES[9]]
    else:
        rows[NAMES[9]] = dataclasses.replace(rows[NAMES[9]], seeds=rows[NAMES[9]].seeds[:1])
    with pytest.raises(UserError, match="all 225, the same number of times"):
        TabularBenchmark(rows)


def test_shipped_table_is_small_and_counts_as_the_one_counter_does() -> None:
    table = TabularBenchmark.shipped()
    assert resources.files("posefabric.tabular").joinpath(FILE).read_bytes().__len__() < 400_000
    for name in NAMES[::40]:
        cost = count(architectures()[name])
        assert (table.rows[name].macs, table.rows[name].parameters) == (cost.macs, cost.parameters)


def test_shipped_table_ranks_beyond_the_noise_of_its_seeds() -> None:
    table = TabularBenchmark.shipped()
    assert table.num_seeds == 3
    assert table.seed_agreement() > 0.7
    assert np.std(list(table.scores().values())) > 5 * table.seed_noise() / np.sqrt(table.num_seeds)


def test_shipped_row_can_be_trained_again() -> None:
    table, name = TabularBenchmark.shipped(), TabularBenchmark.shipped().ranking()[0]
    again, there = train(architectures()[name], 0), table.rows[name].seeds[0]
    assert again.curve[0] == pytest.approx(there.curve[0], rel=0.01)
    assert abs(again.loss - there.loss) < 4 * table.seed_noise()  # another processor rounds differently
    assert again.loss < table.mean_random()
