"""The table: figures that can be reckoned by hand, pairs that really pair, and what is missing said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from posefabric import documents
from posefabric.errors import UserError
from posefabric.evaluation.persons import PersonScores
from posefabric.evaluation.statistics import expected_best
from posefabric.experiments.page import as_page, as_text
from posefabric.experiments.results import Results, Trained, gather
from posefabric.experiments.spec import Spec
from posefabric.experiments.study import Progress
from posefabric.experiments.table import tabulate
from posefabric.experiments.units import TEST, Unit, trainings, units

ARMS: dict[str, Any] = {"A": {"kind": "searched"}, "C": {"kind": "permuted"}, "E": {"kind": "uniform"}}
PERSONS = 120


def spec_with(**changes: Any) -> Spec:
    base = {"recipe": "smoke", "data": "synthetic", "budget": "60%", "seeds": [0, 1, 2], "train_seeds": [0, 1]}
    return Spec.model_validate({**base, "arms": ARMS, "contrasts": [["A", "C"], ["A", "E"]], **changes})


def net(unit: Unit, gain: float, ids: int = 0) -> Trained:
    """A net whose persons score 50 + gain and as much as their own luck and the seed's."""
    luck = np.random.default_rng(7).normal(0, 10, PERSONS)
    noise = np.random.default_rng([unit.seed, unit.train_seed, int(gain * 10)]).normal(0, 1, PERSONS)
    scores = 50 + gain + luck + noise + unit.seed
    weights = np.random.default_rng(8).integers(1, 15, PERSONS).astype(float)
    score = float(np.average(scores, weights=weights))
    persons = PersonScores(np.arange(PERSONS) + ids, scores, weights)
    return Trained(unit, unit.seed, score, score, 1000, 200 + unit.seed, 0.5, None, persons)


def results_of(spec: Spec, gains: dict[str, float], **changes: Any) -> Results:
    arms = {name: [net(u, gain) for u in trainings(spec) if u.arm == name] for name, gain in gains.items()}
    known = {"on": "val", "search_hours": {("A", 0): 1.0}, "hours": 9.0, "failed_hours": 0.5, "missing": {}}
    return Results(spec=spec, metric="PCK@0.2", arms=arms, **{**known, **changes})


def test_means_and_spreads_are_over_seeds() -> None:
    results = results_of(spec_with(), {"A": 3.0, "C": 0.0, "E": 0.0})
    row = tabulate(results).arms["A"]
    per_seed = [np.mean([n.score for n in results.arms["A"] if n.seed == seed]) for seed in range(3)]
    assert row.mean == pytest.approx(np.mean(per_seed))
    assert row.sd == pytest.approx(np.std(per_seed, ddof=1))
    assert row.sd_retrained is not None
    assert row.sd_retrained < row.sd
    assert (row.nets, row.wanted, row.seeds) == (6, 6, 3)
    assert row.hours == pytest.approx(1.5)
    assert row.parameters == (200, 202)


def test_a_real_difference_is_found_and_none_is_not() -> None:
    found = tabulate(results_of(spec_with(), {"A": 3.0, "C": 0.0, "E": 3.0}))
    real, none = found.contrasts
    assert real.persons is not None
    assert real.over_seeds is not None
    assert real.difference == pytest.approx(real.persons.estimate)
    assert real.difference == pytest.approx(3, abs=0.3)
    assert real.persons.low > 0
    assert real.over_seeds.low > 0
    assert list(real.pairs) == ["0", "1", "2"]
    assert np.mean([pair.estimate for pair in real.pairs.values()]) == pytest.approx(real.difference)
    assert none.difference == pytest.approx(0, abs=1e-9)
    assert none.persons_holm == 1.0
    assert real.persons_holm == pytest.approx(2 * real.persons.p_value)
    assert real.over_seeds_holm == pytest.approx(2 * real.over_seeds.p_value)


def test_only_seeds_that_both_arms_have_are_paired() -> None:
    results = results_of(spec_with(), {"A": 3.0, "C": 0.0, "E": 0.0})
    results.arms["C"][:] = [n for n in results.arms["C"] if n.seed == 2]
    results.arms["E"].clear()
    found = tabulate(results)
    one, nothing = found.contrasts
    assert list(one.pairs) == ["2"]
    assert one.over_seeds is None
    assert one.difference == pytest.approx(3, abs=0.5)
    assert (nothing.difference, nothing.persons, nothing.persons_holm) == (None, None, None)
    assert found.arms["E"].mean is None
    assert any("-" in line for line in as_text(found))


def test_a_net_whose_persons_are_out_of_reach_leaves_the_interval_over_persons_out() -> None:
    results = results_of(spec_with(), {"A": 3.0, "C": 0.0, "E": 0.0})
    first = results.arms["C"][0]
    results.arms["C"][0] = Trained(**{**vars(first), "persons": None})
    with_c, with_e = tabulate(results).contrasts
    assert with_c.persons is None
    assert with_c.over_seeds is not None
    assert with_e.persons is not None


def test_nets_measured_on_other_persons_do_not_pair() -> None:
    results = results_of(spec_with(), {"A": 3.0, "C": 0.0, "E": 0.0})
    results.arms["C"][0] = net(results.arms["C"][0].unit, 0.0, ids=1)
    with pytest.raises(UserError, match="different persons"):
        tabulate(results)


def test_figures_are_json_and_the_page_says_what_is_missing() -> None:
    missing = {"C/seed1/train0": "needs A/seed1/search, which failed", "E/seed0/train0": "line\nlast <line>"}
    found = tabulate(results_of(spec_with(), {"A": 3.0, "C": 0.0, "E": 0.0}, missing=missing))
    assert json.loads(json.dumps(documents.to_data(found), allow_nan=False))["arms"]["A"]["nets"] == 6
    text, page = "\n".join(as_text(found)), as_page(found)
    for said in ("A - C", "searched", "9 h 0 min in all, 30 min 0 s of it failed", "which failed"):
        assert said in text
        assert said in page
    assert "last &lt;line&gt;" in page
    assert "<script" not in page
    assert "http" not in page


def facts_of(unit: Unit) -> dict[str, Any]:
    return {"score": 40.0, "metric": "PCK@0.2", "macs": 10, "parameters": 5, "folder": unit.name}


def test_gathered_are_the_figures_of_the_split_that_was_opened(tmp_path: Any) -> None:
    spec = spec_with(split="test")
    done = {unit: facts_of(unit) for unit in units(spec) if unit != TEST}
    seconds = dict.fromkeys(done, 36.0)
    before = gather(spec, Progress(done=dict(done), seconds=dict(seconds)), tmp_path)
    assert before.on == "val"
    assert before.missing == {"test": "not done yet"}
    done[TEST] = {"score": 30.0, "scores": {unit.name: 30.0 for unit in trainings(spec) if unit.arm != "E"}}
    after = gather(spec, Progress(done=done, seconds={**seconds, TEST: 36.0}), tmp_path)
    assert after.on == "test"
    assert {n.score for n in after.arms["A"]} == {30.0}
    assert {n.val_score for n in after.arms["A"]} == {40.0}
    assert after.arms["E"] == []
    assert after.hours == pytest.approx(len(done) / 100)


def test_the_expected_best_is_that_of_all_subsets() -> None:
    import itertools

    random = np.random.default_rng(0)
    scores, chosen_by = random.normal(size=7).tolist(), random.normal(size=7).tolist()
    for count in range(1, 8):
        subsets = itertools.combinations(range(7), count)
        best = [scores[max(subset, key=lambda i: chosen_by[i])] for subset in subsets]
        assert expected_best(scores, chosen_by, count) == pytest.approx(np.mean(best))
    assert expected_best(scores, scores, 7) == pytest.approx(max(scores))
    for wrong in (0, 8):
        with pytest.raises(UserError):
            expected_best(scores, chosen_by, wrong)
