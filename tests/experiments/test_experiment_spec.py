"""Specifications: every mistake at once, grids unfolded, and pieces of work that wait for what they need."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefabric.errors import UserError
from posefabric.experiments.kinds import Searched
from posefabric.experiments.spec import Spec, read_spec
from posefabric.experiments.units import TEST, Unit, missing, needs, ready, units

ALL = """
recipe: smoke
data: synthetic
budget: 60%
seeds: [3, 5]
train_seeds: [0, 1]
arms:
  A: {kind: searched, strategy: first-order, parts: 3}
  B: {kind: shared}
  C: {kind: permuted}
  E: {kind: uniform, train_seeds: [7]}
  F: {kind: whole_body}
  G: {kind: random_groups}
  I: {kind: grid, strategies: [sync, gumbel], derivations: [argmax, path]}
  J-d1: {kind: head, vector_dim: 1}
"""


def spec_of(text: str, folder: Path) -> Spec:
    file = folder / "trial.yaml"
    file.write_text(text)
    return read_spec(file)


def test_what_is_said_arrives(tmp_path: Path) -> None:
    spec = spec_of(ALL, tmp_path)
    assert spec.name == "trial"
    assert spec.config("A").search.strategy == "first-order"
    assert spec.config("F").model.parts == "1"
    assert spec.config("B").model.fabric.share_parts
    assert not spec.config("A").model.fabric.share_parts
    assert spec.config("J-d1").model.vector_dim == 1
    assert spec.config("I-gumbel-path").search.derive == "path"
    assert spec.named_contrasts() == (("A", "B"), ("A", "C"), ("A", "E"), ("A", "F"))
    grid = [name for name in spec.all_arms() if name.startswith("I-")]
    assert grid == ["I-sync-argmax", "I-sync-path", "I-gumbel-argmax", "I-gumbel-path"]
    assert all(isinstance(spec.all_arms()[name], Searched) for name in grid)
    assert [unit.train_seed for unit in units(spec) if unit.arm == "E"] == [7, 7]


def test_a_file_says_the_same_from_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = spec_of(ALL.replace("data: synthetic", "data: people.yaml\nimages: photos"), tmp_path)
    monkeypatch.chdir(tmp_path)
    assert read_spec(Path("trial.yaml")).data_form() == there.data_form()


def test_a_budget_of_an_experiment_is_of_macs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="budget: the budget '12ms'; allowed: MACs such as 150M"):
        spec_of(ALL.replace("60%", "12ms"), tmp_path)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    spec = spec_of(ALL.replace("data: synthetic", "data: people/dataset.yaml\nimages: photos"), tmp_path)
    assert spec.data == str(tmp_path / "people/dataset.yaml")
    assert spec.images == tmp_path / "photos"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = """
recipe: smok
data: synthetic
budget: much
seeds: [1, 1]
metric: PCK
split: train
arms:
  A: {kind: searched, stratgy: sync}
  C: {kind: permutation}
"""
    with pytest.raises(UserError) as caught:
        spec_of(text, tmp_path)
    for said in ("did you mean 'smoke'", "budget", "twice", "unknown metric", "split", "stratgy", "permutation"):
        assert said in str(caught.value)
    assert caught.value.code == "bad-config"


def test_what_contradicts_itself_is_told_at_once(tmp_path: Path) -> None:
    text = """
recipe: smoke
data: synthetic
budget: 10M
contrasts: [[A, D], [A, A]]
arms:
  A: {kind: searched, set: [train.epohs=3]}
  C: {kind: permuted, of: E}
  E: {kind: uniform, activation: round}
  "X/Y": {kind: uniform}
"""
    with pytest.raises(UserError) as caught:
        spec_of(text, tmp_path)
    for said in (
        "arms.A: --set: train.epohs: unknown key; did you mean 'epochs'",
        "'E' is no searched arm; known: A",
        "arms.E: --set: model.activation",
        "unknown arm 'D'",
        "'A' with itself",
        "arms.X/Y: a name",
    ):
        assert said in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "recipe: smoke", ALL.replace("arms:", "arms: {}\nlegs:")])
def test_what_is_no_specification_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bad-config"):
        spec_of(text, tmp_path)


def test_units_have_names_of_their_own_and_seeds_come_in_turns(tmp_path: Path) -> None:
    spec = spec_of(ALL + "split: test\n", tmp_path)
    found = units(spec)
    assert len({unit.name for unit in found}) == len(found)
    first_of_second_seed = next(i for i, unit in enumerate(found) if unit.seed == 5)
    assert all(unit.seed == 3 for unit in found[:first_of_second_seed])
    assert found[-1] == TEST
    assert Unit("A", 3, "train", 1).name == "A/seed3/train1"


@given(st.randoms(use_true_random=False), st.floats(0, 1))
def test_whatever_order_workers_take_everything_ends(random: st.Random, failing: float) -> None:
    spec = Spec.model_validate(
        {
            "recipe": "smoke",
            "data": "synthetic",
            "budget": "60%",
            "split": "test",
            "arms": {"A": {"kind": "searched"}, "C": {"kind": "permuted"}, "E": {"kind": "uniform"}},
        }
    )
    done: set[Unit] = set()
    failed: dict[Unit, str] = {}
    while startable := ready(spec, done, failed):
        unit = random.choice(startable)
        assert all(other in done for other in needs(spec, unit)) or unit == TEST
        if unit != TEST and random.random() < failing:
            failed[unit] = "no luck"
        else:
            done.add(unit)
    assert TEST in done
    told = missing(spec, done, failed)
    assert set(told) == {unit.name for unit in units(spec)} - {unit.name for unit in done}
    for unit in failed:
        if unit.stage == "search":
            assert told[f"C/seed{unit.seed}/train0"] == f"needs {unit.name}, which failed"
