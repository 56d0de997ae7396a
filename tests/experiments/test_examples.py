"""The specifications in `examples/`: the tiny one is carried out, the whole protocol is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import posefabric
from posefabric.experiments.spec import read_spec
from posefabric.experiments.units import TEST, trainings, units

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_the_tiny_experiment_ends_in_a_table(tmp_path: Path) -> None:
    table = posefabric.experiment_run(EXAMPLES / "tiny-experiment.yaml", output=tmp_path / "tiny")
    assert table.figures["missing"] == {}
    assert {name: row["nets"] for name, row in table.figures["arms"].items()} == {"A": 1, "C": 1, "D": 2, "E": 1}
    macs = [number for row in table.figures["arms"].values() for number in row["macs"]]
    assert min(macs) >= 0.98 * max(macs)
    assert [(c["first"], c["second"]) for c in table.figures["contrasts"]] == [("A", "C"), ("A", "D"), ("A", "E")]
    assert all(contrast["persons"] is not None for contrast in table.figures["contrasts"])
    assert {best["arm"] for best in table.figures["best_of"]} == {"A", "C", "E"}
    assert json.dumps(table.figures, allow_nan=False)
    assert table.output is not None
    assert "uniform" in table.output.read_text()


def test_the_protocol_has_all_arms() -> None:
    spec = read_spec(EXAMPLES / "protocol-lspet.yaml")
    names = list(spec.all_arms())
    assert {"A", "B", "C", "D", "E", "F", "G"} <= set(names)
    assert len([name for name in names if name.startswith("I-")]) == 8
    assert len([name for name in names if name.startswith("J-")]) == 6
    assert spec.named_contrasts() == (("A", "B"), ("A", "C"), ("A", "D"), ("A", "E"), ("A", "F"))
    assert units(spec)[-1] == TEST
    assert len([unit for unit in trainings(spec) if unit.arm == "A"]) == 15
    assert len([unit for unit in trainings(spec) if unit.arm == "D"]) == 30
    assert spec.config("J-sigmoid").model.activation == "sigmoid"
