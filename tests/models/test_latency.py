"""Latency tables: every choice is in them, what is expected is their sum, and budgets of time are met by it."""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path

import pytest
import torch
from small_runs import new_strategy, small_config, small_supernet, training_stream
from strategies_architecture import tiny_supernet

from posefabric import documents
from posefabric.architecture import Architecture, supernet
from posefabric.backbone import Backbone
from posefabric.commands import profile
from posefabric.engine.calibration import calibrate
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype
from posefabric.models.choices import ChoiceCosts
from posefabric.models.expected import ExpectedMacs
from posefabric.models.latency import LatencyTable, latency_costs, read_table, timed_choices
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.settings import SearchSettings
from posefabric.skeletons import COCO17
from posefabric.space import SearchSpace
from posefabric.strategies.cost import cost_figures
from posefabric.strategies.derive import derive

WHOLES = {
    "fabric": tiny_supernet("1", num_nodes=2),
    "mobilenet": supernet(
        COCO17, COCO17.partition("3"), Backbone("mobilenetv2_100"), SearchSpace.head(2), (64, 64), vector_dim=2
    ),
}


def invented(architecture: Architecture) -> LatencyTable:
    """Odd numbers that no two keys share, as far as anybody could tell."""
    times = {key: 1001 + 2 * (zlib.crc32(key.encode()) % 10**6) for key in timed_choices(architecture)}
    return LatencyTable("nowhere", 1, "0", times)


@cache
def costs_of(name: str) -> ChoiceCosts:
    return latency_costs(WHOLES[name], invented(WHOLES[name]))


def undecided(whole: Architecture, seed: int) -> PoseNet:
    torch.manual_seed(seed)
    with torch.device("meta"):
        net = PoseNet(whole)
    net.mixing = torch.nn.ModuleDict(softmax_mixings(whole))
    for parameter in net.architecture_parameters():
        torch.nn.init.normal_(parameter)
    return net


def decided(net: PoseNet) -> Architecture:
    """Every mixture certain of its strongest choice but `zero`."""
    for parameter in net.architecture_parameters():
        if parameter.ndim == 2:
            parameter.data[:, 0] = -1e4
        strongest = torch.nn.functional.one_hot(parameter.argmax(dim=-1), parameter.shape[-1])
        parameter.data = torch.where(strongest.bool(), 0.0, -1e4)
    there = {
        name: Genotype({site: CellChoice(_there(c.inputs), tuple(map(_there, c.edges))) for site, c in g.cells.items()})
        for name, (_, g) in mixture(net).fabrics().items()
    }
    return net.architecture.with_genotypes(there)


def _there(weights: object) -> dict[str, float]:
    return {name: weight for name, weight in dict(weights).items() if weight > 0}  # type: ignore[call-overload]


@pytest.mark.parametrize("name", WHOLES)
def test_certain_choices_are_expected_to_take_the_sum_of_their_entries(name: str) -> None:
    expected = ExpectedMacs(costs_of(name))
    net = undecided(WHOLES[name], 0)
    for _ in range(30):
        for parameter in net.architecture_parameters():
            torch.nn.init.normal_(parameter)
        kept = {fabric: genotype for fabric, (_, genotype) in decided(net).fabrics().items()}
        assert expected(net).item() == pytest.approx(costs_of(name).macs(kept), rel=1e-12)


def test_the_sum_is_that_of_what_is_kept() -> None:
    """One cell that reads stride 4, counted by hand."""
    space = SearchSpace(num_layers=6, first_layer=5, last_layer=6, base_channels=2)
    whole = supernet(COCO17, COCO17.partition("1"), Backbone("mobilenetv2_100"), space, (64, 64), vector_dim=3)
    table = invented(whole)
    cell = CellChoice({"same": 1.0}, ({"sep_conv_3x3": 1.0},))
    keys = (
        "mobilenetv2_100 to 4 64x64",
        "lateral 24>8 16x16",
        "transition 4>4 8>8 16x16",
        "sep_conv_3x3 8 16x16",
        "projection 1x8 16x16",
        "head 8>17x3 squash 16x16",
    )
    found = latency_costs(whole, table).macs({"all": Genotype({"layer5_stride4": cell})})
    assert found == sum(table.nanoseconds[key] for key in keys)


def test_everything_is_measured_and_read_again(tmp_path: Path) -> None:
    whole = tiny_supernet("3")
    table = calibrate(whole, rounds=1)
    assert list(table.nanoseconds) == sorted(timed_choices(whole))
    assert min(table.nanoseconds.values()) > 0
    file = tmp_path / "latency.json"
    file.write_text(documents.to_json(table), encoding="utf-8")
    assert read_table(file) == table
    assert latency_costs(whole, table).whole > 0


def test_a_table_holds_for_all_partitions_and_no_other_space() -> None:
    table = invented(tiny_supernet("3"))
    assert latency_costs(tiny_supernet("5"), table).heads.keys() == COCO17.partition("5").keys()
    with pytest.raises(UserError, match="the latency table has no 'projection 2x") as caught:
        latency_costs(tiny_supernet("3", num_nodes=2), table)
    assert caught.value.code == "bad-latency"
    assert "--calibrate" in caught.value.todo


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"device": "x"}', "threads"), ('{"format": 2}', "format"), ("[]", "an object")],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "latency.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=found) as caught:
        read_table(tmp_path / "latency.json")
    assert caught.value.code == "bad-latency"


def written(folder: Path, architecture: Architecture) -> str:
    file = folder / "latency.json"
    file.write_text(documents.to_json(invented(architecture)), encoding="utf-8")
    return str(file)


def timed(file: str, budget: str, **further: object) -> SearchSettings:
    return SearchSettings.model_validate({"latency_table": file, "cost_unit": "latency", "budget": budget, **further})


@pytest.mark.parametrize("method", ["argmax", "path"])
def test_a_budget_of_time_is_met(method: str, tmp_path: Path) -> None:
    whole = WHOLES["mobilenet"]
    file, costs = written(tmp_path, whole), costs_of("mobilenet")
    found = mixture(undecided(whole, 0))
    with pytest.raises(UserError, match="the smallest reachable cost") as caught:
        derive(found, method, timed(file, "0.001ms"))
    least = caught.value.allowed.split()[2].rstrip(",")
    for budget in (least, f"{0.8 * costs.whole / 1e6}ms", "90%"):
        settings = timed(file, budget)
        derived = derive(found, method, settings)
        figures = cost_figures(settings, found, derived)
        assert 0.9 * figures["budget_ms"] <= figures["expected_ms"] <= figures["budget_ms"]
        assert derived.widths == whole.widths


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("search.cost_unit=latency",), "latency needs a search.latency_table"),
        (("search.budget=12ms",), "MACs such as 150M; milliseconds need search.cost_unit=latency"),
        (("search.budget=150M", "search.latency_table=x", "search.cost_unit=latency"), "milliseconds such as 12ms"),
        (("search.budget=0ms", "search.latency_table=x", "search.cost_unit=latency"), "milliseconds such as 12ms"),
    ],
)
def test_units_that_contradict_are_refused(assignments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small_config(*assignments)


def test_a_search_pays_with_time(tmp_path: Path) -> None:
    file = written(tmp_path, small_supernet(small_config()))
    config = small_config(
        "search.architecture_lr=0.2",
        f"search.latency_table={file}",
        "search.cost_unit=latency",
        "search.cost_objective=weighted",
    )
    learner = new_strategy("sync", config)
    batches = training_stream(config, 2)
    times = [learner.step(*batches, step)["expected_ms"] for step in range(4)]
    assert times == sorted(times, reverse=True)
    assert times[-1] < times[0]


def test_the_command_measures_this_machine(tmp_path: Path) -> None:
    architecture, file = tmp_path / "architecture.json", tmp_path / "tables" / "latency.json"
    architecture.write_text(documents.to_json(tiny_supernet("1")), encoding="utf-8")
    result = profile(str(architecture), calibrate=True, output=file)
    assert result.output == file
    assert result.figures["entries"] == len(read_table(file).nanoseconds)
    assert read_table(file).threads == torch.get_num_threads()
    with pytest.raises(UserError, match="--output without --calibrate"):
        profile(str(architecture), output=file)
