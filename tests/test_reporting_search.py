"""The report of searches: the film in words and pictures, the alarm, and whether seeds agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies_architecture import tiny_supernet

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.commands.using import report
from posefabric.config import Config, override
from posefabric.draw import plot_search
from posefabric.evaluation.agreement import random_mixture
from posefabric.film import FILM, FabricFrame, Frame, KeptCell, kept_choices, read_film
from posefabric.genotype import Genotype
from posefabric.reporting.page import report_page
from posefabric.reporting.reading import read_run
from posefabric.runs import Run

WHOLE = tiny_supernet("3")


class Words(HTMLParser):
    """The visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def words(page: str) -> str:
    return " ".join(" ".join(Words(page).found).split())


def frame(step: int, *, sparse: tuple[str, ...] = (), **more: Any) -> Frame:
    """Even shares everywhere, everything kept but the first input of cells of the fabrics named."""
    return Frame(
        step, {name: _fabric(genotype, name in sparse) for name, (_, genotype) in WHOLE.fabrics().items()}, **more
    )


def _fabric(genotype: Genotype, sparse: bool) -> FabricFrame:
    kept = kept_choices(genotype)
    if sparse:
        kept = {site: KeptCell(cell.inputs[1:], cell.edges) for site, cell in kept.items()}
    cells = genotype.cells.items()
    some = next(cell for _, cell in cells)
    alpha = {"shared": tuple({"zero": 0.25, **dict.fromkeys(edge, 0.75 / len(edge))} for edge in some.edges)}
    return FabricFrame(alpha, {site: dict.fromkeys(cell.inputs, 1 / len(cell.inputs)) for site, cell in cells}, kept)


def write_search(
    folder: Path,
    frames: Sequence[Frame],
    rows: Sequence[Mapping[str, Any]],
    mixture: Architecture = WHOLE,
    seed: int = 0,
) -> Run:
    config = override(Config(seed=seed), ["search.derive=argmax"])
    run = Run.start(folder, "search", config.data_form(), {"name": "none"})
    for found in frames:
        run.log({key: value for key, value in documents.to_data(found).items() if value is not None}, FILM)
    for row in rows:
        run.log(row)
    run.save_architecture(mixture, "supernet.json")
    run.save_architecture(mixture)
    run.finish()
    return run


def rows(*skips: float) -> list[dict[str, Any]]:
    return [
        {"step": i, "split": "train", "alpha_entropy": 1 - i / 10, "beta_entropy": 0.9, "skip_share": skip, "loss": 0.1}
        for i, skip in enumerate(skips, start=1)
    ]


CALM = rows(0.2, 0.2, 0.3, 0.2)


def page_of(run: Run) -> str:
    return report_page([read_run(run.path)])


def test_a_film_is_told_in_words_and_drawn_fabric_by_fabric(tmp_path: Path) -> None:
    frames = [frame(0), frame(3, sparse=("head",)), frame(4, sparse=("head",), macs=95, budget=100)]
    page = page_of(write_search(tmp_path / "run", frames, CALM))
    text = words(page)
    assert "Decisions last changed at step 3 of 4 (head), 75 % of the way." in text
    assert "0.60 (alpha) and 0.90 (beta)" in text
    assert "95.0% of the budget" in text
    assert "changed 1 times, last at step 3" in text
    assert text.count("never changed") == len(WHOLE.fabrics()) - 1
    assert "collapsed" not in text
    assert "alarm was raised" not in text
    for name in WHOLE.fabrics():
        assert f'aria-label="Frames of {name}"' in page
    for step in (0, 3, 4):
        assert f"step {step}" in text
    assert page.count("<details open") == 1


def test_frames_that_name_some_fabrics_keep_the_others(tmp_path: Path) -> None:
    part = Frame(2, {"head": frame(2, sparse=("head",)).fabrics["head"]})
    film = read_film(write_search(tmp_path / "run", [frame(0), part, frame(4)], CALM))
    assert [len(found.fabrics) for found in film] == [len(WHOLE.fabrics())] * 3
    assert film[1].fabrics == frame(2, sparse=("head",)).fabrics


@pytest.mark.parametrize(
    ("logged", "noted", "expected"),
    [
        (rows(0.2, 0.6, 0.7), None, "The search collapsed: from step 2 on, skips have more than 50% of alpha."),
        (rows(0.2, 0.6, 0.3), {"step": 2, "found": "skips have 60% of alpha"}, "An alarm was raised at step 2"),
    ],
)
def test_collapses_are_told(logged: list[dict[str, Any]], noted: Any, expected: str, tmp_path: Path) -> None:
    run = write_search(tmp_path / "run", [frame(0), frame(3)], logged)
    if noted:
        run.note(collapse=noted)
    assert expected in words(page_of(run))


def test_a_run_without_a_film_has_no_such_section(tmp_path: Path) -> None:
    text = words(page_of(write_search(tmp_path / "run", [], CALM)))
    assert "How the search went" not in text
    assert "Entropy tells how undecided" in text


def test_curves_show_the_budget_and_the_alarm() -> None:
    logged = [row | {"expected_macs": 50.0} for row in CALM]
    figure = plot_search(logged, [frame(0, macs=90, budget=100), frame(4, macs=95, budget=100)], alarm=0.5)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["entropy (1 undecided, 0 decided)", "share of alpha", "expected MACs", "when decisions changed"]
    labels = {text.get_text() for axes in figure.axes if axes.get_legend() for text in axes.get_legend().get_texts()}
    assert {"alpha entropy", "skip share", "alarm", "budget", "derived within it"} <= labels
    plain = plot_search(CALM, [frame(0), frame(4)])
    assert len(plain.axes) == 3


@pytest.fixture
def seeds(tmp_path: Path) -> Callable[[bool], list[Path]]:
    """Four searches that differ in their seed, which found the same or found anything."""

    def make(alike: bool) -> list[Path]:
        random = np.random.default_rng(1)
        found = [random_mixture(WHOLE, random) for _ in range(4)]
        film = [frame(0), frame(4)]
        return [
            write_search(tmp_path / f"seed{i}", film, CALM, found[0 if alike else i], seed=i).path for i in range(4)
        ]

    return make


@pytest.mark.parametrize("alike", [True, False])
def test_seeds_of_one_recipe_are_compared(alike: bool, seeds: Callable[[bool], list[Path]], tmp_path: Path) -> None:
    folders = seeds(alike)
    result = report(folders, tmp_path / "report.html")
    ((names, fabrics),) = result.figures["seeds"].items()
    assert names == "seed0, seed1, seed2, seed3"
    assert set(fabrics) == set(WHOLE.fabrics())
    assert json.dumps(result.figures, allow_nan=False)
    told = "\n".join(result.lines)
    page = words((tmp_path / "report.html").read_text())
    assert "Do the seeds agree?" in page
    if alike:
        assert {found["differing"] for found in fabrics.values()} == {0}
        assert "4 seeds agree more than random nets in head" in told
        assert "by chance" not in page
    else:
        chance = [name for name, found in fabrics.items() if found["p_value"] > 0.05]
        assert chance
        assert f"4 seeds agree no better than random nets in {', '.join(chance)}" in told
        assert page.count("by chance") == len(chance)


def test_only_searches_that_differ_in_their_seed_alone_are_compared(
    seeds: Callable[[bool], list[Path]], tmp_path: Path
) -> None:
    first, second, *_ = seeds(True)
    other = Run(second)
    other.note(config={**other.record["config"], "search": {**other.record["config"]["search"], "epochs": 7}})
    assert report([first, second], tmp_path / "a.html").figures == {}
    assert report([first], tmp_path / "b.html").lines == ()
