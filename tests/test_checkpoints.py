"""Tensors on disk: exact round trips, damage that is noticed, and checkpoints that resume the newest whole state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from small_runs import same_state

from posefabric.checkpoints import (
    KEPT,
    forget_checkpoints,
    latest_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)
from posefabric.errors import UserError


def flip_byte(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 0x10
    file.write_bytes(data)


def steps(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {
        "kernel": torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last),
        "half": torch.randn(7).bfloat16(),
        "count": torch.tensor(2**62 + 1),
        "empty": torch.zeros(0, 3),
        "odd": torch.tensor([torch.nan, -0.0, torch.inf]),
        "grad": torch.nn.Parameter(torch.randn(2)),
        "part": torch.arange(12).reshape(3, 4)[:, 1:3],
    }
    save_tensors(tmp_path / "a.safetensors", tensors)
    found = load_tensors(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        torch.testing.assert_close(found[name], tensor.detach(), rtol=0, atol=0, equal_nan=True)


def test_equal_tensors_are_equal_files(tmp_path: Path) -> None:
    kernel = torch.randn(4, 3, 5, 5)
    save_tensors(tmp_path / "a", {"x": kernel, "y": torch.ones(2)})
    save_tensors(tmp_path / "b", {"y": torch.ones(2), "x": kernel.to(memory_format=torch.channels_last)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with safetensors.safe_open(tmp_path / "a", "pt") as file:
        assert not file.metadata()


@pytest.mark.parametrize("damage", ["", "short", "header"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "weights.safetensors"
    save_tensors(file, {"x": torch.ones(20)})
    whole = file.read_bytes()
    file.write_bytes({"": b"", "short": whole[:-4], "header": b"\xff" * 8 + whole[8:]}[damage])
    with pytest.raises(UserError, match=r"weights\.safetensors is not a whole safetensors file") as caught:
        load_tensors(file)
    assert caught.value.code == "bad-weights"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none does not exist") as caught:
        load_tensors(tmp_path / "none")
    assert caught.value.code == "missing-file"


STATE: dict[str, Any] = {
    "net": {"weight": torch.randn(2, 3), "steps": torch.tensor(3)},
    "optimizer": {
        "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.randn(4)}, 11: {}},
        "param_groups": [
            {"lr": 1e-3, "betas": [0.9, 0.999], "foreach": None, "fused": True, "eps": 1e-8, "params": [0, 11]}
        ],
    },
    "average": {},
    "tensor": "a name like ours",
}


def test_a_state_comes_back_whole(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 7, STATE, {})
    found = latest_checkpoint(tmp_path)
    assert found is not None
    step, state = found
    assert step == 7
    assert same_state(state, STATE)
    assert list(state["optimizer"]["state"]) == [0, 11]
    assert state["average"] == {}
    assert state["optimizer"]["param_groups"][0]["fused"] is True
    assert state["optimizer"]["param_groups"][0]["foreach"] is None


def test_tuples_come_back_as_lists(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"betas": (0.9, (1, None))}, {})
    assert latest_checkpoint(tmp_path) == (1, {"betas": [0.9, [1, None]]})


@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (4, 3, 1, 1), (4, 1, 3, 3), (6, 2)])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_a_fused_optimizer_continues_as_if_it_had_never_stopped(
    tmp_path: Path, shape: tuple[int, ...], optimizer: type[torch.optim.Adam]
) -> None:
    """Its moments must lie in memory as its weights do, or they are paired with the wrong ones."""

    def weight() -> torch.nn.Parameter:
        start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return torch.nn.Parameter(start.to(memory_format=torch.channels_last) if start.ndim == 4 else start)

    def learn(parameter: torch.nn.Parameter, learner: torch.optim.Optimizer, step: int) -> None:
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
        learner.step()

    whole, resumed = weight(), weight()
    first, second = (optimizer([parameter], lr=0.1, fused=True) for parameter in (whole, resumed))
    for step in range(1, 3):
        learn(whole, first, step)
        learn(resumed, second, step)
    save_checkpoint(tmp_path, 2, second.state_dict(), {})
    found = latest_checkpoint(tmp_path)
    assert found is not None
    second = optimizer([resumed], lr=0.1, fused=True)
    second.load_state_dict(found[1])
    learn(whole, first, 3)
    learn(resumed, second, 3)
    assert torch.equal(whole, resumed)


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    for step in (5, 9, 10, 100, 101):
        save_checkpoint(tmp_path, step, {"step": step}, {})
    assert KEPT == 3
    assert steps(tmp_path) == ["step-10", "step-100", "step-101"]
    assert latest_checkpoint(tmp_path) == (101, {"step": 101})


def test_damaged_ones_of_later_steps_take_no_place(tmp_path: Path) -> None:
    for step in (7, 8, 9):
        save_checkpoint(tmp_path, step, {"step": step}, {})
        flip_byte(tmp_path / "checkpoints" / f"step-{step}" / "state.json", 3)
    assert latest_checkpoint(tmp_path) is None
    for step in range(5):
        save_checkpoint(tmp_path, step, {"step": step}, {})
        assert latest_checkpoint(tmp_path) == (step, {"step": step})


@pytest.mark.parametrize("earlier", ["whole", "damaged", "none"])
def test_a_step_that_cannot_be_made_is_forgotten_where_an_earlier_one_is_left(tmp_path: Path, earlier: str) -> None:
    for step in (5, 7) if earlier == "none" else (2, 5, 7):
        save_checkpoint(tmp_path, step, {"x": torch.ones(step)}, {})
    if earlier == "damaged":
        flip_byte(tmp_path / "checkpoints" / "step-2" / "state.safetensors", 9)
    forget_checkpoints(tmp_path, 5)
    left = {"whole": ["step-2"], "damaged": ["step-2", "step-5", "step-7"], "none": ["step-5", "step-7"]}
    assert steps(tmp_path) == left[earlier]


def test_a_step_written_again_replaces_the_first(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"x": 1}, {})
    save_checkpoint(tmp_path, 5, {"x": 2}, {})
    assert latest_checkpoint(tmp_path) == (5, {"x": 2})


def test_without_checkpoints_there_is_nothing_to_resume(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoints" / ".step-3.tmp").mkdir(parents=True)
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
def test_a_flipped_byte_anywhere_is_passed_over(tmp_path: Path, file: str, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step, "x": torch.full((5,), float(step))}, {})
    content = (tmp_path / "checkpoints" / "step-3" / file).read_bytes()
    position = content.index(b'"sha256"') + 30 if file == "manifest.json" else len(content) - 8
    flip_byte(tmp_path / "checkpoints" / "step-3" / file, position)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert same_state(found, (2, {"step": 2, "x": torch.full((5,), 2.0)}))
    assert "step-3 is damaged and is passed over" in caplog.text


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("content", [None, b"", b"[]"])
def test_a_missing_or_cut_file_is_passed_over(tmp_path: Path, file: str, content: bytes | None) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"step": step}, {})
    damaged = tmp_path / "checkpoints" / "step-2" / file
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)
    assert latest_checkpoint(tmp_path) == (1, {"step": 1})


def test_when_all_are_damaged_there_is_nothing_to_resume(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"step": 1}, {})
    flip_byte(tmp_path / "checkpoints" / "step-1" / "state.json", 3)
    assert latest_checkpoint(tmp_path) is None
