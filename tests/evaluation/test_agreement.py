"""Seeds that agree, seeds that do not, and searches that collapse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from strategies_architecture import tiny_supernet

from posefabric.architecture import Architecture
from posefabric.errors import UserError
from posefabric.evaluation.agreement import (
    Agreement,
    agreement,
    collapse_step,
    findings,
    kept_weights,
    random_mixture,
    skip_shares,
)
from posefabric.genotype import CellChoice, Genotype
from posefabric.settings import SearchSettings
from posefabric.strategies.derive import derive


def argmax(mixture: Architecture) -> Architecture:
    return derive(mixture, "argmax", SearchSettings())


def random_nets(count: int, seed: int, **space: bool) -> list[Architecture]:
    random = np.random.default_rng(seed)
    return [random_mixture(tiny_supernet("3", **space), random) for _ in range(count)]


@pytest.mark.parametrize("share_operations", [True, False], ids=["shared", "per-cell"])
def test_seeds_that_found_the_same(share_operations: bool) -> None:
    (net,) = random_nets(1, 0, share_operations=share_operations)
    for seen in agreement([net, net, net], argmax).values():
        assert seen.differing == 0
        assert 0 < seen.random < 1
        assert seen.p_value <= 0.05
        assert (seen.alpha_tau, seen.beta_tau) == pytest.approx((1, 1))


def test_random_mixtures_agree_by_chance() -> None:
    """Over many draws of five: p-values spread over (0, 1], shares around those of other random nets, taus around 0."""
    seen = [found for seed in range(8) for found in agreement(random_nets(5, seed), argmax, seed=seed).values()]
    assert 0.3 < np.mean([found.p_value for found in seen]) < 0.7
    assert np.mean([found.p_value <= 0.05 for found in seen]) < 0.2
    assert np.mean([found.differing / found.random for found in seen]) == pytest.approx(1, abs=0.1)
    assert abs(np.mean([found.beta_tau for found in seen])) < 0.1


def test_order_of_seeds_does_not_matter_and_draws_repeat() -> None:
    nets = random_nets(3, 1)
    assert agreement(nets, argmax) == agreement(nets, argmax)
    turned = agreement(nets[::-1], argmax)
    for fabric, seen in agreement(nets, argmax).items():
        assert list(vars(turned[fabric]).values()) == pytest.approx(list(vars(seen).values()))


def test_differing_choices_by_hand() -> None:
    """Nets that keep another operation everywhere differ in two operations, and in no input."""
    whole = tiny_supernet()
    nets = [only(whole, name) for name in ("sep_conv_3x3", "dil_conv_3x3")]
    seen = agreement(nets, lambda net: net)
    space = whole.space
    inputs = sum(len(site.sources) for site in space.sites())
    assert seen["all"].differing == pytest.approx(2 / (3 + inputs))
    assert np.isnan(seen["all"].beta_tau)


def only(whole: Architecture, operation: str) -> Architecture:
    """One operation on all edges, every input."""
    return whole.with_genotypes(
        {
            fabric: Genotype(
                {site: CellChoice(cell.inputs, ({operation: 1.0},)) for site, cell in genotype.cells.items()}
            )
            for fabric, (_, genotype) in whole.fabrics().items()
        }
    )


def test_weights_of_what_is_not_kept_are_0() -> None:
    whole = tiny_supernet()
    derived = argmax(random_nets(1, 2)[0])
    for (space, kept), (_, everything) in zip(derived.fabrics().values(), whole.fabrics().values(), strict=False):
        alphas, betas = kept_weights(space, kept)
        assert [len(row) for row in (alphas, betas)] == [len(row) for row in kept_weights(space, everything)]
        assert np.count_nonzero(betas) == sum(len(cell.inputs) for cell in kept.cells.values())
        assert np.count_nonzero(alphas) == 1


def test_random_mixtures_are_scaled_as_a_supernet_applies_them() -> None:
    for space, genotype in random_nets(1, 3, share_operations=False)[0].fabrics().values():
        for site in space.sites():
            if site.name in genotype.cells:
                assert sum(genotype.cells[site.name].inputs.values()) == pytest.approx(len(site.sources))
        sums = [sum(edge.values()) for cell in genotype.cells.values() for edge in cell.edges]
        assert max(sums) < len(space.operations)
        assert len(set(sums)) == len(sums)


def test_collapse_is_told_where_it_lasts() -> None:
    def rows(*shares: float) -> list[dict[str, float]]:
        return [{"step": 10 * i, "skip_share": share} for i, share in enumerate(shares)]

    assert collapse_step(rows(0.3, 0.6, 0.7)) == 10
    assert collapse_step(rows(0.6, 0.3, 0.7)) == 20
    assert collapse_step(rows(0.6, 0.7, 0.5)) is None
    assert collapse_step([*rows(0.6), {"step": 5, "AP": 0.1}]) == 0
    assert collapse_step([{"step": 0, "loss": 1.0}]) is None
    assert collapse_step(rows(0.3, 0.4), threshold=0.35) == 10


def test_skip_shares() -> None:
    whole = tiny_supernet()
    assert skip_shares(whole) == pytest.approx({"all": 1 / 3, "backbone": 1 / 5})
    assert skip_shares(only(whole, "skip_connect")) == {"all": 1, "backbone": 1}
    assert skip_shares(only(whole, "sep_conv_3x3")) == {"all": 0, "backbone": 0}


def test_findings_say_what_is_wrong_and_nothing_else() -> None:
    whole = tiny_supernet()
    healthy = {f"runs/{i}": only(whole, "sep_conv_3x3") for i in range(3)}
    calm = {run: [{"step": 0, "skip_share": 0.2}] for run in healthy}
    assert findings(calm, healthy, argmax) == []
    sick = {"runs/0": only(whole, "skip_connect")}
    told = findings({"runs/0": [{"step": 7, "skip_share": 0.9}]}, sick, argmax)
    assert told == [
        "runs/0: from step 7 on, skips have more than 50% of alpha",
        "runs/0: skips are 100% of what the derived net keeps of all",
        "runs/0: skips are 100% of what the derived net keeps of backbone",
    ]
    strangers = {str(i): net for i, net in enumerate(random_nets(4, 5))}
    told = [line for line in findings({}, strangers, argmax) if "seeds differ" in line]
    chance = [name for name, seen in agreement(list(strangers.values()), argmax).items() if seen.p_value > 0.05]
    assert chance
    assert [line.split(":")[0] for line in told] == chance


def test_searches_that_cannot_be_compared_are_refused() -> None:
    whole = tiny_supernet()
    with pytest.raises(UserError, match="2 seeds at least"):
        agreement([whole], argmax)
    with pytest.raises(UserError, match="different spaces"):
        agreement([whole, tiny_supernet(num_nodes=2)], argmax)
    assert isinstance(agreement([whole, replace(whole)], argmax)["all"], Agreement)
