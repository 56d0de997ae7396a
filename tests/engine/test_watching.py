"""The film of a search and its alarm: what is written when, that it is true, and that a resume leaves no trace."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import new_strategy, small_config, small_people, small_supernet

from posefabric.checkpoints import latest_checkpoint, save_checkpoint
from posefabric.config import Config
from posefabric.engine.search import search
from posefabric.engine.watching import COLLAPSE, SearchWatch, shares_of, weightless
from posefabric.errors import UserError
from posefabric.evaluation.agreement import skip_threshold
from posefabric.film import FILM, changed, changes, kept_choices, read_film
from posefabric.models.net import PoseNet, gumbel_mixings, mixture, softmax_mixings
from posefabric.runs import Run
from posefabric.strategies.derive import derive

CONFIG = small_config("model.parts=3", "search.strategy=sync", "search.derive=argmax")
STEPS, INTERVAL = 12, 4


class Wandering:
    """A supernet whose logits are moved by a random walk: what would be derived changes often."""

    def __init__(self, config: Config = CONFIG) -> None:
        supernet = small_supernet(config)
        self.net = PoseNet(supernet, softmax_mixings(supernet))
        self.random = torch.Generator().manual_seed(0)

    def step(self) -> dict[str, float]:
        with torch.no_grad():
            for logits in self.net.architecture_parameters():
                logits += 0.05 * torch.randn(logits.shape, generator=self.random)
        return {"skip_share": 0.3}

    def state(self) -> dict[str, Any]:
        return {"net": self.net.state_dict(), "random": self.random.get_state()}

    def load(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.random.set_state(state["random"])


def wander(folder: Path, config: Config = CONFIG, crash: int | None = None) -> Run:
    """Start or resume a filmed walk; it goes down after `crash` steps."""
    run = Run.start(folder, "search", config.data_form(), {})
    walk, start = Wandering(config), 0
    if (checkpoint := latest_checkpoint(folder)) is not None:
        start, state = checkpoint
        walk.load(state)
    run.cut_rows(start)
    watch = SearchWatch(run, lambda: walk.net, config.search)
    watch.begin(start)
    for step in range(start + 1, STEPS + 1):
        figures = walk.step()
        run.log({"step": step, "split": "train", **figures})
        watch.see(step, figures, validated=step % INTERVAL == 0)
        if step == crash:
            break
        if step % INTERVAL == 0:
            save_checkpoint(folder, step, walk.state(), {})
    return run


@pytest.mark.parametrize("crash", [2, 4, 6, 8, 11, 12])
def test_the_film_of_a_resumed_search_is_that_of_an_uninterrupted_one(crash: int, tmp_path: Path) -> None:
    whole = wander(tmp_path / "whole")
    wander(tmp_path / "cut", crash=crash)
    resumed = wander(tmp_path / "cut")
    assert (resumed.path / FILM).read_bytes() == (whole.path / FILM).read_bytes()


def test_a_search_whose_film_is_lost_goes_on_with_a_new_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = wander(tmp_path / "run", crash=6)
    (run.path / FILM).unlink()
    wander(tmp_path / "run")
    assert "search.jsonl is gone: the film begins at step 4" in caplog.text
    assert next(frame.step for frame in read_film(run)) == 4


def test_a_search_begun_anew_begins_a_new_film(tmp_path: Path) -> None:
    """Before the first checkpoint there is nothing to keep, whatever another configuration has left."""
    Run.start(tmp_path / "run", "search", CONFIG.data_form(), {}).log({"step": 0, "fabrics": {}}, FILM)
    run = wander(tmp_path / "run")
    assert (run.path / FILM).read_bytes() == (wander(tmp_path / "other").path / FILM).read_bytes()


def test_frames_stand_at_step_0_at_validations_and_wherever_something_else_would_be_kept(tmp_path: Path) -> None:
    run = wander(tmp_path / "run")
    rows, frames = run.rows(FILM), read_film(run)
    assert [frame.step for frame in frames] == sorted({frame.step for frame in frames})
    assert {0, 4, 8, 12} <= {frame.step for frame in frames}
    assert len(frames) > 6  # the walk changes its mind between validations, too
    parts = set(small_supernet(CONFIG).fabrics())
    for before, now, row in zip([None, *frames], frames, rows, strict=False):
        assert set(now.fabrics) == parts
        if now.step % INTERVAL == 0:
            assert set(row["fabrics"]) == parts
        else:
            assert before is not None
            assert set(row["fabrics"]) == set(changed(before, now)) != set()
    steps = changes(frames)
    assert {frame.step for frame in frames} == {0, 4, 8, 12} | {step for found in steps.values() for step in found}


@pytest.mark.parametrize("method", ["argmax", "path", "threshold"])
@pytest.mark.parametrize("shared", [True, False])
def test_a_frame_shows_what_the_net_mixes_and_what_its_method_keeps(method: str, shared: bool, tmp_path: Path) -> None:
    config = small_config(
        "model.parts=3",
        f"search.derive={method}",
        f"model.fabric.share_operations={str(shared).lower()}",
        "search.threshold=0.35",
    )
    walk = Wandering(config)
    run = Run.start(tmp_path / "run", "search", config.data_form(), {})
    watch = SearchWatch(run, lambda: walk.net, config.search)
    watch.begin(0)
    for step in range(1, 4):
        watch.see(step, walk.step(), validated=True)
    last = read_film(run)[-1]
    derived = derive(mixture(walk.net), method, config.search)
    assert last.step == 3
    for name, (_, genotype) in derived.fabrics().items():
        assert last.fabrics[name].kept == kept_choices(genotype)
        applied = mixture(walk.net).fabrics()[name][1]
        for site, cell in last.fabrics[name].mixture().cells.items():
            count = len(last.fabrics[name].beta[site])
            assert {slot: share * count for slot, share in cell.inputs.items()} == pytest.approx(
                applied.cells[site].inputs, abs=5e-3
            )
            for shares, multipliers in zip(cell.edges, applied.cells[site].edges, strict=True):
                number = len(last.fabrics[name].edges(site)[0])
                assert {o: share * number for o, share in shares.items()} == pytest.approx(dict(multipliers), abs=5e-3)


def test_widths_are_filmed_where_they_are_chosen(tmp_path: Path) -> None:
    config = small_config("model.fabric.width_multipliers=[0.5,1.0]", "search.derive=argmax")
    walk = Wandering(config)
    run = Run.start(tmp_path / "run", "search", config.data_form(), {})
    watch = SearchWatch(run, lambda: walk.net, config.search)
    watch.begin(0)
    with torch.no_grad():
        for mixing in walk.net.mixing.values():
            for number, logits in enumerate(mixing.width.values()):
                logits.copy_(torch.tensor([1.0, -1.0] if number == 0 else [-1.0, 1.0]))
    watch.see(1, {}, validated=False)
    first, last = read_film(run)
    derived = derive(mixture(walk.net), "argmax", config.search)
    assert set(changed(first, last)) == {"all"}
    assert last.fabrics["all"].widths["4"] == pytest.approx({"0.5": 0.881, "1.0": 0.119})
    assert last.fabrics["all"].kept_widths == {str(s): c for s, c in derived.channels("all").items()}
    assert last.fabrics["all"].kept_widths["4"] == 2
    assert last.fabrics["backbone"].kept_widths == {}


def test_with_a_budget_validations_show_what_it_pays(tmp_path: Path) -> None:
    config = small_config("search.budget=97%", "search.strategy=sync")
    run = Run.start(tmp_path / "run", "search", config.data_form(), {})
    search(run, config, small_supernet(config), small_people(), small_people(6, seed=1))
    last = read_film(run)[-1]
    assert last.fitted == {name: kept_choices(kept) for name, (_, kept) in run.architecture().fabrics().items()}
    assert last.macs == run.figures()["macs"]


def test_a_filmed_search_tells_the_loss_on_people_it_does_not_learn_from(tmp_path: Path) -> None:
    config = small_config("search.strategy=sync", "search.lr=1e-12", "search.ema_decay=0.0")
    run = Run.start(tmp_path / "run", "search", config.data_form(), {})
    search(run, config, small_supernet(config), small_people(), small_people(6, seed=1))
    losses = [row["loss"] for row in run.rows() if row["split"] == "val"]
    assert len(losses) == config.search.epochs
    assert all(0 < loss < 1 for loss in losses)


def favouring(operation: str, strength: float, parts: str = "3") -> PoseNet:
    """A supernet whose alphas all favour one operation."""
    config = small_config(f"model.parts={parts}")
    net = Wandering(config).net
    for mixing in net.mixing.values():
        for alpha in mixing.alpha.values():
            alpha.data[:, mixing.operations.index(operation)] = strength
    return net


def alarmed(net: PoseNet, figures: dict[str, float], run: Run) -> SearchWatch:
    watch = SearchWatch(run, lambda: net, CONFIG.search)
    watch.begin(0)
    watch.see(1, figures, validated=True)
    return watch


def test_a_collapse_is_told_once_with_its_step_and_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.start(tmp_path / "run", "search", CONFIG.data_form(), {})
    with caplog.at_level(logging.WARNING):
        watch = alarmed(favouring("sep_conv_3x3", 2.0), {"skip_share": 0.5}, run)
        assert run.record.get(COLLAPSE) is None
        assert caplog.records == []
        watch.see(2, {"skip_share": 0.51}, validated=False)
        watch.see(3, {"skip_share": 0.9}, validated=False)
    (record,) = caplog.records
    assert "step 2" in record.getMessage()
    assert "search.warmup_architecture" in record.getMessage()
    assert Run(run.path).record[COLLAPSE] == {"step": 2, "found": "skips have 51% of alpha"}
    watch.begin(0)  # resumed before it happened: it has not happened yet
    assert Run(run.path).record[COLLAPSE] is None


def test_operations_without_weights_that_take_over_every_part_are_a_collapse(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "search", CONFIG.data_form(), {})
    alarmed(favouring("skip_connect", 3.0), {"skip_share": 0.1}, run)
    assert run.record[COLLAPSE]["found"].startswith("in every part")


def test_what_counts_as_taking_over() -> None:
    even, skips, learning = (favouring("skip_connect", s) for s in (0.0, 3.0, -3.0))
    architecture = even.architecture
    assert not weightless(shares_of(even), architecture)
    assert not weightless(shares_of(learning), architecture)
    assert weightless(shares_of(skips), architecture)
    one = shares_of(skips) | {name: shares_of(even)[name] for name in list(architecture.partition)[:1]}
    assert not weightless(one, architecture)


def test_where_an_even_mixture_is_half_skips_the_alarm_comes_later() -> None:
    assert skip_threshold(small_supernet(small_config())) == 0.5
    half = small_config("model.fabric.operations=[skip_connect,sep_conv_3x3]")
    assert skip_threshold(small_supernet(half)) == 0.75


def test_draws_are_filmed_without_zero(tmp_path: Path) -> None:
    supernet = small_supernet(CONFIG)
    shares = shares_of(PoseNet(supernet, gumbel_mixings(supernet, hard=True)))
    assert {name for fabric in shares.values() for table in fabric.alpha.values() for name in table[0]} == {
        "skip_connect",
        "sep_conv_3x3",
    }
    assert new_strategy("uniform", CONFIG).net.mixing.keys() == supernet.fabrics().keys()
    assert shares_of(new_strategy("uniform", CONFIG).net) == {}


def test_a_damaged_film_is_named(tmp_path: Path) -> None:
    run = wander(tmp_path / "run")
    run.log({"step": 13, "fabrics": {"head": {"alpha": 1}}}, FILM)
    with pytest.raises(UserError, match=r"search\.jsonl, line") as caught:
        read_film(run)
    assert caught.value.code == "bad-run"
