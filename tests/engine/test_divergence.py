"""Numbers that stop being finite are caught at their step, traced to a module and to persons, and gone back from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small_runs
import torch
from small_runs import cpu_engine, lively_net, new_strategy, small_config, small_people, small_supernet, training_stream
from torch import nn

from posefabric.checkpoints import best, latest_checkpoint, load_tensors
from posefabric.config import Config
from posefabric.engine.divergence import LEFT_OUT, MOST, ROLLBACKS, diagnose
from posefabric.engine.loop import Source
from posefabric.errors import UserError
from posefabric.models.net import PoseNet, softmax_mixings
from posefabric.optimization import WeightLearner
from posefabric.runs import Run
from posefabric.strategies import STRATEGIES
from posefabric.strategies.gradient import FirstOrder

PEOPLE = small_people(), small_people(6, seed=1)


def carry_out(command: str, folder: Path, config: Config) -> Run:
    return small_runs.carry_out(command, Run.start(folder, command, config.data_form(), {}), config, PEOPLE)


def spoil_images(monkeypatch: pytest.MonkeyPatch, step: int, times: int) -> list[int]:
    """From now on the second sample of that step's batch holds a NaN, so often; its person, once it has been seen."""
    honest, left, seen = Source.batches, [times], []

    def spoiled(source: Source, plan: Any, start: int, *part: Any) -> Any:
        for number, batch in enumerate(honest(source, plan, start, *part), start=start):
            if number == step and left[0]:
                left[0] -= 1
                batch.images[1, 0, 0, 0] = torch.nan
                seen.append(int(batch.indices[1]))
            yield batch

    monkeypatch.setattr(Source, "batches", spoiled)
    return seen


@pytest.mark.parametrize("command", ["train", "search"])
def test_a_passing_nan_costs_a_step_back_and_half_the_rate(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config("train.epochs=2", "search.epochs=2")
    persons = spoil_images(monkeypatch, step=3, times=1)
    run = carry_out(command, tmp_path / "run", config)
    assert run.finished
    assert run.record[ROLLBACKS] == [{"step": 3, "module": "images", "persons": persons}]
    assert "going back to the last checkpoint, from now on at 0.5 of the rate" in caplog.text
    kept = load_tensors(run.path / "diverged" / "step-3.safetensors")
    assert torch.isnan(kept["0.images"][1, 0, 0, 0])
    rates = {row["step"]: row["lr"] for row in run.rows() if row["split"] == "train"}
    assert sorted(rates) == list(range(1, 7))
    calm = carry_out(command, tmp_path / "calm", config)
    full = {row["step"]: row["lr"] for row in calm.rows() if row["split"] == "train"}
    assert rates[6] == pytest.approx(full[6] / 2)
    assert all(torch.isfinite(tensor).all() for tensor in load_tensors(run.path / "weights.safetensors").values())


def test_after_three_steps_back_the_run_ends_and_names_the_persons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    persons = spoil_images(monkeypatch, step=2, times=100)
    with pytest.raises(UserError, match=r"the loss of step 2 is nan.*first bad: images") as caught:
        carry_out("train", tmp_path / "run", small_config("train.epochs=2"))
    assert caught.value.code == "diverged"
    assert f"persons [{persons[-1]}]" in caught.value.given
    assert len(json.loads((tmp_path / "run" / "run.json").read_text())[ROLLBACKS]) == MOST + 1


def test_alpha_that_overflows_is_caught_on_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on the next one, when a checkpoint of it might have been written."""
    honest = FirstOrder.step

    def overflowing(strategy: FirstOrder, *batches: Any, step: int) -> dict[str, float]:
        figures = honest(strategy, *batches, step=step)
        with torch.no_grad():
            next(strategy.bare_net.architecture_parameters()).fill_(torch.inf)
        return figures

    monkeypatch.setattr(FirstOrder, "step", overflowing)
    with pytest.raises(UserError, match=r"mixing\.\w+\.\S+ is not finite after step 1") as caught:
        carry_out("search", tmp_path / "run", small_config("search.strategy=first-order", "search.epochs=2"))
    assert caught.value.code == "diverged"
    assert len(Run(tmp_path / "run").record[ROLLBACKS]) == MOST + 1
    assert (latest_checkpoint(tmp_path / "run") or (None,))[0] == 0


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, config = WeightLearner.step, small_config("train.epochs=2", "train.leave=best")

    def spoiling(learner: WeightLearner, batch: Any, step: int) -> dict[str, float]:
        row = honest(learner, batch, step)
        if step == 2:  # a validation follows
            with torch.no_grad():
                next(learner.bare_net.weights()).fill_(torch.inf)
        return row

    monkeypatch.setattr(WeightLearner, "step", spoiling)
    with pytest.raises(UserError, match=r"is not finite after step 3"):
        carry_out("train", tmp_path / "run", config)
    step, _ = latest_checkpoint(tmp_path / "run") or (0, {})
    assert step < 3
    assert best(tmp_path / "run") is None


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_notices_a_nan_on_its_step(name: str) -> None:
    config = small_config()
    for spoiled in range(1 + STRATEGIES[name].steps_on_held_out):
        strategy, batches = new_strategy(name, config), training_stream(config, 2)
        batches[spoiled].images[0, 0, 0, 0] = torch.nan
        with pytest.raises(UserError, match="of step 3 is") as caught:
            strategy.step(*batches, step=3)
        assert caught.value.code == "diverged"
        assert all(torch.isfinite(parameter).all() for parameter in strategy.bare_net.parameters())


@pytest.mark.parametrize(
    "name", [name for name in STRATEGIES if list(new_strategy(name, small_config()).net.mixing.parameters())]
)
def test_alpha_that_is_nan_is_noticed_on_the_step_that_sees_it(name: str) -> None:
    config = small_config()
    strategy = new_strategy(name, config)
    with torch.no_grad():
        next(strategy.bare_net.mixing.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match="of step 3 is") as caught:
        strategy.step(*training_stream(config, 2), step=3)
    assert caught.value.code == "diverged"


def test_a_gradient_that_is_left_out_is_named_and_its_batch_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, honest, name = small_config("train.epochs=1"), nn.utils.clip_grad_norm_, list[str]()

    def overflowing(parameters: list[nn.Parameter], limit: float) -> torch.Tensor:
        if not name:
            name.append("seen")
            assert parameters[0].grad is not None
            parameters[0].grad.fill_(torch.inf)
        return honest(parameters, limit)

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", overflowing)
    run = carry_out("train", tmp_path / "run", config)
    (noted,) = run.record[LEFT_OUT]
    assert noted["step"] == 0
    assert noted["module"].startswith("the gradient of backbone.")
    assert (run.path / "diverged" / "step-0.safetensors").is_file()
    assert ROLLBACKS not in run.record


def test_an_architecture_parameter_that_is_nan_is_named() -> None:
    config = small_config()
    supernet = small_supernet(config)
    net = PoseNet(supernet, softmax_mixings(supernet))
    (part,) = supernet.partition
    with torch.no_grad():
        net.mixing[part].alpha["shared"][0, 0] = torch.nan  # type: ignore[index,union-attr,operator]
    batch = training_stream(config, 1)[0]
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    found = diagnose(net, batch)
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    assert found == {"module": f"mixing.{part}.alpha.shared", "persons": batch.indices.tolist()}


def test_the_first_module_that_overflows_is_named() -> None:
    config = small_config()
    net = lively_net(config)
    batch = training_stream(config, 1)[0]
    name = next(name for name, _ in net.named_modules() if name.endswith("to_vectors"))
    with torch.no_grad():
        net.get_submodule(name).get_parameter("weight").fill_(3e38)
    assert diagnose(net, batch)["module"] == name


def test_a_diverged_step_is_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_images(monkeypatch, step=3, times=1)
    config = small_config("train.epochs=2", "train.leave=best")
    run = carry_out("train", tmp_path / "run", config)
    assert all(torch.isfinite(tensor).all() for tensor in load_tensors(run.path / "weights.safetensors").values())


def test_out_of_memory_halves_the_pieces_and_keeps_the_batch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Norms in eval mode, so that the pieces see what the whole sees: the same loss and gradient to 1e-6."""
    config = small_config()
    batch = training_stream(config, 1)[0]
    found = []
    for limit in (100, 1):
        torch.manual_seed(0)
        learner = new_learner(config, monkeypatch, limit)
        row = learner.step(batch, 0)
        found.append((row["loss"], row["gradient_norm"], learner.pieces))
    (whole, norm, one), (split, split_norm, four) = found
    assert (one, four) == (1, 4)
    assert split == pytest.approx(whole, rel=1e-6)
    assert split_norm == pytest.approx(norm, rel=1e-5)
    assert "from now on 1 samples at a time, 4 to a step as before; norms see the smaller batches" in caplog.text


def new_learner(config: Config, monkeypatch: pytest.MonkeyPatch, limit: int) -> WeightLearner:
    """A learner whose memory holds `limit` samples; its norms do not learn."""
    learner = WeightLearner(cpu_engine(), PoseNet(small_supernet(config)), config, config.train, 10)
    learner.bare_net.eval()
    monkeypatch.setattr(learner.bare_net, "train", lambda mode=True: learner.bare_net)
    honest = learner.bare_net.forward

    def forward(images: torch.Tensor) -> torch.Tensor:
        if len(images) > limit:
            raise torch.OutOfMemoryError("made to happen")
        return honest(images)

    monkeypatch.setattr(learner.bare_net, "forward", forward)
    return learner


def test_memory_that_ends_elsewhere_is_told_and_no_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def validate(*_: Any) -> dict[str, float]:
        raise torch.OutOfMemoryError("made to happen")

    monkeypatch.setattr("posefabric.engine.train.evaluate", validate)
    with pytest.raises(UserError, match=r"made to happen.*evaluation\.batch_size") as caught:
        carry_out("train", tmp_path / "run", small_config())
    assert caught.value.code == "out-of-memory"


def test_where_not_even_one_sample_fits_the_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config()
    learner = new_learner(config, monkeypatch, 0)
    with pytest.raises(UserError, match="one sample at a time does not fit") as caught:
        learner.step(training_stream(config, 1)[0], 0)
    assert caught.value.code == "out-of-memory"
